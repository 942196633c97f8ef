"""No name reaches a terminal, a log, a file system or a spreadsheet as anything but text."""

import logging
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2fast.files.legible import identifier, legible, legible_lines
from s2fast.files.redaction import PublicFormatter
from tests.archives import textured, write_scene
from tests.forked import forked_command

CONTROLS = {"Cc", "Cf", "Cs", "Zl", "Zp"}

names = st.text(st.characters(), max_size=300)


def controls(text: str) -> list[str]:
    return [character for character in text if unicodedata.category(character) in CONTROLS]


@given(names)
def test_no_control_character_is_shown(name: str) -> None:
    shown = legible(name)
    assert not controls(shown)
    shown.encode()  # no half of a surrogate pair
    assert controls(legible_lines(name)) == ["\n"] * name.count("\n")


@given(names)
def test_what_is_shown_is_one_to_one_where_nothing_looks_escaped(name: str) -> None:
    if "\\" not in name:
        assert (
            re.sub(r"\\(x..|u....|U........|[tnr])", lambda m: m[0].encode().decode("unicode_escape"), legible(name))
            == name
        )


@given(names)
def test_an_id_is_a_file_name_everywhere(name: str) -> None:
    made = identifier(name)
    assert made
    assert not controls(made)
    assert not set(made) & set('/\\:*?"<>|')
    assert made[0] not in " .-=+@"
    assert made[-1] not in " ."
    assert len(made.encode()) <= 160
    assert identifier(made) in (made, made.lstrip("_"))


@pytest.mark.parametrize("name", ["T36UYA_20190805T083601_TCI", "Kharkiv, north", "ортофото 2019", "a.b-c_d", "北"])
def test_plain_names_stay(name: str) -> None:
    assert identifier(name) == legible(name) == name


@pytest.mark.parametrize("name", ["con", "NUL.tif", "com1", "LPT9.x"])
def test_names_of_devices_are_not_ids(name: str) -> None:
    assert identifier(name) == f"_{name}"


def test_long_names_that_begin_alike_stay_apart() -> None:
    assert identifier("ж" * 200 + "a") != identifier("ж" * 200 + "b")


def test_a_log_line_stays_one_line() -> None:
    record = logging.LogRecord("s2fast", logging.WARNING, "", 0, "%s skipped", ("a\nb\x1b]0;owned\x07",), None)
    assert PublicFormatter("%(message)s").format(record) == "a\\nb\\x1b]0;owned\\x07 skipped"


@pytest.mark.slow
def test_hostile_file_names_pass_through_a_run_as_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = np.stack([textured(rng, (96, 96)) for _ in range(3)])
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    for name in ("\x1b]0;owned\x07a", "b\nforged line", "=HYPERLINK(1)", "\u202egnp", "-rf", "con"):
        write_scene(scenes / f"{name}.tif", pixels)
    (scenes / "\x1b[31mbroken.tif").write_bytes(b"")
    (settings := tmp_path / "settings.toml").touch()
    out = tmp_path / "out"
    said = ""
    for words in (["run", settings, "--scenes", scenes, "--out", out], ["pairs", out, "--format", "csv"]):
        ended = forked_command(told := tmp_path / "told", *words)
        ended.join()
        said += (printed := told.read_text("utf-8"))
        assert ended.exitcode in (0, 3), printed
    said += (out / "run.log").read_text("utf-8") + (out / "pairs.csv").read_text("utf-8")
    assert set(controls(said)) <= {"\n"}
    assert not re.search(r"^forged|(^|,)[=+@-]\D", said, re.MULTILINE)
    assert "b_forged line" in said
