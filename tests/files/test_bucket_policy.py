"""The policy of docs/clusters.md on an S3 server that enforces policies: it suffices, and allows nothing elsewhere."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from s2fast.errors import RunFolderError
from s2fast.files.open_storage import open_storage
from s2fast.files.ranges import byte_ranges
from s2fast.files.source import Source

pytestmark = pytest.mark.slow

BUCKET, PREFIX = "archive", "runs/first"
DOCUMENT = Path(__file__).parents[2] / "docs" / "clusters.md"
REGION = "us-east-1"


def policy() -> dict[str, Any]:
    """Return the documented policy."""
    found = re.search(r"```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found
    document: dict[str, Any] = json.loads(found[1].replace("BUCKET", BUCKET).replace("PREFIX", PREFIX))
    # S3 asks for this right per object; moto asks for it on the bucket when several are removed at once.
    document["Statement"][-1]["Resource"] = [document["Statement"][-1]["Resource"], f"arn:aws:s3:::{BUCKET}"]
    return document


def count_from(url: str, number: int) -> None:
    """Set after how many requests the server enforces policies."""
    plain = {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset-auth", str(number).encode(), plain)).close()


class Server:
    """An S3 server that lets a user do what a policy allows."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        import boto3

        keys = {"aws_access_key_id": "root", "aws_secret_access_key": "root", "region_name": REGION}
        self.url = url
        self.env = monkeypatch
        self.iam = boto3.client("iam", endpoint_url=url, **keys)
        self.s3 = boto3.client("s3", endpoint_url=url, **keys)
        self.enforce(False)
        self.s3.create_bucket(Bucket=BUCKET)
        self.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/there", Body=b"there")
        self.s3.put_object(Bucket=BUCKET, Key="secret/there", Body=b"secret")
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_REGION", REGION)

    def enforce(self, enforced: bool) -> None:
        """Set whether policies count from the next request on."""
        count_from(self.url, 0 if enforced else 1_000_000)

    def become(self, document: dict[str, Any]) -> None:
        """Become a new user with a policy."""
        self.enforce(False)
        name = f"user{uuid4().hex}"  # users stay as long as the process
        self.iam.create_user(UserName=name)
        self.iam.put_user_policy(UserName=name, PolicyName="one", PolicyDocument=json.dumps(document))
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        self.env.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        self.env.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        self.enforce(True)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    server = Server(f"http://{host}:{port}", monkeypatch)
    try:
        yield server
    finally:
        server.iam.close()
        server.s3.close()
        count_from(server.url, 1_000_000)
        moto.stop()


def read_all(place: str = PREFIX) -> None:
    """Send every kind of request that reading sends."""
    storage = open_storage(f"s3://{BUCKET}/{place}")
    assert storage.read("there")
    assert storage.names("") == ["there"]
    assert list(storage.stamps()) == ["there"]
    assert not storage.is_empty()
    ranges = byte_ranges(Source.of(f"s3://{BUCKET}/{place}/there"))
    assert ranges is not None
    assert len(ranges.read(1, 2)) == 2
    with pytest.raises(FileNotFoundError):
        storage.read("missing")


def write_all() -> None:
    """Send every kind of request that writing sends."""
    storage = open_storage(f"s3://{BUCKET}/{PREFIX}")
    storage.write("new/a", b"a")
    assert storage.swap("lock", None, b"1")
    assert storage.swap("lock", b"1", b"2")
    assert not storage.swap("lock", b"1", b"3")
    storage.remove("new")
    storage.remove("lock")
    assert list(storage.stamps()) == ["there"]


def test_the_policy_suffices_and_allows_nothing_elsewhere(server: Server) -> None:
    server.become(policy())
    read_all()
    write_all()
    elsewhere = open_storage(f"s3://{BUCKET}/secret")
    for act in (lambda: elsewhere.read("there"), lambda: elsewhere.write("a", b"")):
        with pytest.raises(RunFolderError, match="secret"):
            act()
