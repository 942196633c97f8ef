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
        ("trust=[%22https://h/?sig=x%22]", "trust=[%22https://h/"),
        ("h/a.tif?sv=2&sig=abcdef%2B: no such file", "h/a.tif?sv=2&sig=... no such file"),
        ("a.tif%3Fsv%3D2%26X-Amz-Signature%3Dabcdef%26se%3D3", "a.tif%3Fsv%3D2%26X-Amz-Signature%3D...%26se%3D3"),
        ("ftp://me:x@h/a.tif and /vsis3/me:x@b/a.tif", "ftp://h/a.tif and /vsis3/b/a.tif"),
    ],
)  # fmt: skip
def test_what_may_be_shown(text: str, wanted: str) -> None:
    assert public(text) == wanted


def test_quotes_in_a_commands_words_end_no_address() -> None:
    assert public_words(["--scenes=https://h/a.tif?sig=a'secret", "it's"]) == ["--scenes=https://h/a.tif", "it's"]
    assert public_words(["https://h/a b.tif?sig=x", 'trust=["https://h/?sig=x"]']) == [
        "https://h/a%20b.tif", "trust=[%22https://h/"
    ]  # fmt: skip


def test_other_libraries_log_no_secrets_either(tmp_path: Path) -> None:
    record = logging.LogRecord("rasterio", logging.ERROR, "", 0, "HTTP error for %s", ("https://h/a.tif?sig=x",), None)
    assert PublicFormatter("%(message)s").format(record) == "HTTP error for https://h/a.tif"
    assert RunLog(str(tmp_path)).format(record).endswith("HTTP error for https://h/a.tif")
