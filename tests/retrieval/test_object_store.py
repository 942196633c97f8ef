"""An index in an object store is the same as on disk."""

from __future__ import annotations

import numpy as np
import pytest

from s2fast.files.open_storage import open_bucket, open_storage
from s2fast.retrieval.build import build
from s2fast.retrieval.index import Index
from s2fast.retrieval.votes import vote
from tests.indexed import Indexed
from tests.s3 import s3_server

pytestmark = pytest.mark.slow


def test_an_index_in_a_bucket_votes_as_one_on_disk(indexed: Indexed, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server("archive") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            monkeypatch.setenv(name, "us-east-1")
        open_bucket.cache_clear()
        to = "s3://archive/index"
        build(to, [indexed.out], 700)
        stored, local = Index(to), Index(indexed.index)
        query = local.scene(2).take(np.arange(150))
        assert (vote(stored, query).scenes == vote(local, query).scenes).all()
        names = set(open_storage(to).stamps())
        assert names >= {f"segments/{segment.key}.descriptors" for segment in stored.contents.segments}
        build(to, [indexed.out], 700)
        assert set(open_storage(to).stamps()) == names
    open_bucket.cache_clear()
