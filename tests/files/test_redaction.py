import logging
from pathlib import Path

import pytest

from s2fast.files.redaction import PublicFormatter, public, public_words
from s2fast.folder.log import RunLog


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("no address: a?sig=x, user:word@host", "no address: a?sig=x, user:word@host"),
        ("/data/a.tif?sig=x is a file", "/data/a.tif?sig=x is a file"),
        ("'/vsicurl/https://h/a.tif?sig=x' and \"http://h/b.tif?sig=x\"", "'/vsicurl/https://h/a.tif' and \"http://h/b.tif\""),
        ("/vsicurl/https:/me:x@h/a.tif: gone", "/vsicurl/https:/h/a.tif: gone"),
        ("/vsicurl?header.Key=Bearer%20x&url=https%3A%2F%2Fh%2Fa.tif%3Fsig%3Dx gone", "/vsicurl/https://h/a.tif gone"),
        ("to https%3A%2F%2Fh%2Fa.tif%3Fsig%3Dx", "to https://h/a.tif"),
        ("https://h/a.tif?sig=x&file=b.tif&id=7#x", "https://h/a.tif?file=b.tif&id=7"),
        ("https://h/a.tif#access_token=x", "https://h/a.tif"),
    ],
)  # fmt: skip
def test_what_may_be_shown(text: str, wanted: str) -> None:
    assert public(text) == wanted


def test_quotes_in_a_commands_words_end_no_address() -> None:
    assert public_words(["--scenes=https://h/a.tif?sig=a'secret", "it's"]) == ["--scenes=https://h/a.tif", "it's"]


def test_other_libraries_log_no_secrets_either(tmp_path: Path) -> None:
    record = logging.LogRecord("rasterio", logging.ERROR, "", 0, "HTTP error for %s", ("https://h/a.tif?sig=x",), None)
    assert PublicFormatter("%(message)s").format(record) == "HTTP error for https://h/a.tif"
    assert RunLog(str(tmp_path)).format(record).endswith("HTTP error for https://h/a.tif")
