"""Tuning with a stub in place of runs: it chooses what is better, never what is false, and goes on after any stop."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("optuna")

from s2fast.config import Config, load_config
from s2fast.errors import ConfigError
from s2fast.tuning.score import difference, flaw, score
from s2fast.tuning.search import Tuned, search
from s2fast.tuning.settings_file import toml
from s2fast.tuning.space import Range, rounded, searched, value_of
from s2fast.tuning.trials import Answered, Runner, Trials

PAIRS = 40
DEFAULTS = Config()


def answer(right: float, error_px: float, unrelated: int = 0, seed: int = 0) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    verified = draw.permutation(2 * PAIRS) < right * 2 * PAIRS
    errors = error_px * draw.uniform(0.8, 1.2, 2 * PAIRS)
    pairs = [(bool(ok), float(px) if ok else None) for ok, px in zip(verified, errors, strict=True)]
    return {
        "answer": {
            "pairs": 2 * PAIRS, "verified": int(verified.sum()), "error_px": error_px, "unrelated": 50,
            "unrelated_verified": unrelated, "wrong_shifts": 0, "null_trials": 100, "null_verified": 0,
        },
        "pairs": pairs, "stages": {"extract": {"cpu_s": 2.0}}, "keys": {"extract": "all"},
    }  # fmt: skip


def stub(good: Callable[[dict[str, Any], str], dict[str, Any]]) -> tuple[Runner, list[tuple[str, str]]]:
    calls: list[tuple[str, str]] = []

    def run(settings: Any, half: str, limit_s: float) -> Answered:
        assert limit_s > 0
        calls.append((half, json.dumps(settings, sort_keys=True)))
        return good({"contrast": "clahe", "ratio": 0.9, **{k.split(".")[1]: v for k, v in settings.items()}}, half), ""

    return run, calls


def lower_ratio_is_better(settings: dict[str, Any], _: str) -> dict[str, Any]:
    return answer(0.5 + 0.4 * (0.9 - settings["ratio"]) / 0.2, 0.05)


def found(
    path: Path, run: Runner, *, trials: int = 20, base: Config = DEFAULTS, pairs: int = PAIRS, **left: bool
) -> Tuned:
    class Counted(Trials):
        """Each trial takes a second."""

        @property
        def left_s(self) -> float:
            return self.budget_s - len(self.rows)

        @property
        def longest_s(self) -> float:
            return 1.0

    space = searched(base)
    defaults = {key: value_of(base, key) for key in space}
    return search(Counted(path, run, trials / 0.6, "these scenes"), space, defaults, pairs, lambda _: None, **left)


def test_what_is_better_on_both_halves_is_chosen_and_what_gains_nothing_is_set_back(tmp_path: Path) -> None:
    run, _ = stub(lower_ratio_is_better)
    tuned = found(tmp_path / "trials.jsonl", run)
    assert list(tuned.settings) == ["matching.ratio"]
    assert tuned.settings["matching.ratio"] < 0.8
    assert tuned.why.startswith("better than the defaults on the other half: +")
    gain = tuned.effects["matching.ratio"].gain
    assert gain is not None
    assert gain[1] > 0
    text = toml(tuned, Config(), "a test")
    assert tomllib.loads(text) == {"matching": {"ratio": tuned.settings["matching.ratio"]}}
    assert "points" in text
    (tmp_path / "tuned.toml").write_text(text)
    assert load_config(tmp_path / "tuned.toml").matching.ratio == tuned.settings["matching.ratio"]


def test_the_defaults_stay_where_the_other_half_shows_no_gain(tmp_path: Path) -> None:
    run, _ = stub(
        lambda settings, half: lower_ratio_is_better(settings, half) if half == "choose" else answer(0.7, 0.05)
    )
    tuned = found(tmp_path / "trials.jsonl", run)
    assert not tuned.settings
    assert tuned.why.startswith("the defaults are as good")
    base = load_config(overrides={"ingest.stretch": "auto"})
    text = toml(tuned, base, "a test")
    assert tomllib.loads(text) == {"ingest": {"stretch": "auto"}}
    assert "# Not used" in text


@pytest.mark.slow
@pytest.mark.parametrize("where", ["choose", "report"])
def test_a_setting_that_verified_a_falsehood_is_never_chosen(where: str, tmp_path: Path) -> None:
    def good(settings: dict[str, Any], half: str) -> dict[str, Any]:
        false = int(half == where and settings["ratio"] < 0.85)
        return lower_ratio_is_better(settings, half) | (
            {"answer": lower_ratio_is_better(settings, half)["answer"] | {"unrelated_verified": false}}
        )

    tuned = found(tmp_path / "trials.jsonl", stub(good)[0])
    assert tuned.settings.get("matching.ratio", 0.9) >= 0.85
    if where == "report":
        assert "verified 1 of 50 pairs of different ground" in tuned.why


@pytest.mark.slow
def test_a_search_that_is_stopped_at_any_trial_goes_on_to_equal_rows(tmp_path: Path) -> None:
    run, calls = stub(lower_ratio_is_better)
    whole = found(tmp_path / "whole.jsonl", run)
    number, rows = len(calls), (tmp_path / "whole.jsonl").read_text()

    class StoppedError(BaseException):
        pass

    path = tmp_path / "stopped.jsonl"
    for done in range(number):
        begun = 0

        def once(settings: Any, half: str, limit_s: float) -> Answered:
            nonlocal begun
            begun += 1
            if begun == 2:
                raise StoppedError
            return run(settings, half, limit_s)

        calls.clear()
        with pytest.raises(StoppedError) if done < number - 1 else _nothing():
            tuned = found(path, once)
        assert len(calls) == 1
        with path.open("a") as file:  # a kill leaves half a line
            file.write('{"case": "cho')
    for part in ("settings", "why", "effects", "dropped"):
        assert getattr(tuned, part) == getattr(whole, part)
    text = path.read_text()
    assert [_without_times(line) for line in text.splitlines()[:-1]] == [
        _without_times(line) for line in rows.splitlines()
    ]


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def _without_times(line: str) -> dict[str, Any]:
    return {key: value for key, value in json.loads(line).items() if key != "took_s"}


@pytest.mark.parametrize("pairs", [1, 7])
def test_nothing_is_searched_where_the_other_half_has_too_few_pairs(pairs: int, tmp_path: Path) -> None:
    run, calls = stub(lower_ratio_is_better)
    tuned = found(tmp_path / "trials.jsonl", run, pairs=pairs)
    assert not tuned.settings
    assert tuned.report is not None
    assert calls == [("choose", "{}"), ("report", "{}")]
    wanted = "1 pair on the other half is too few" if pairs == 1 else "7 pairs on the other half are too few"
    assert wanted in tuned.why
    assert tuned.why.endswith("suffice: add scenes of the same ground")
    assert tomllib.loads(toml(tuned, Config(), "a test")) == {}


def test_copying_more_scenes_is_only_proposed_where_some_are_left(tmp_path: Path) -> None:
    tuned = found(tmp_path / "trials.jsonl", stub(lower_ratio_is_better)[0], pairs=7, uncopied=True)
    assert tuned.why.endswith("add scenes of the same ground or copy more of them (few)")


@pytest.mark.slow
@pytest.mark.parametrize("where", ["choose", "report"])
def test_few_pairs_suffice_to_leave_defaults_that_verified_a_falsehood(where: str, tmp_path: Path) -> None:
    def few(settings: dict[str, Any], half: str) -> dict[str, Any]:
        whole = lower_ratio_is_better(settings, half)
        false = int(half == where and settings["ratio"] >= 0.85)
        return whole | {"pairs": whole["pairs"][:14], "answer": whole["answer"] | {"unrelated_verified": false}}

    tuned = found(tmp_path / "trials.jsonl", stub(few)[0], pairs=7)
    assert tuned.settings["matching.ratio"] < 0.85
    assert (
        f"{'the other half' if where == 'report' else 'the half to choose on'} the defaults verified 1 of 50"
        in tuned.why
    )


def test_a_search_without_time_says_so(tmp_path: Path) -> None:
    tuned = found(tmp_path / "trials.jsonl", stub(lower_ratio_is_better)[0], trials=1)
    assert not tuned.settings
    assert "the time sufficed for no other setting" in tuned.why


def test_a_search_whose_first_trial_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the first trial failed: no memory"):
        found(tmp_path / "trials.jsonl", lambda *_: ({}, "no memory"))


def cut(run: Runner, wanted: Callable[[dict[str, Any], str], bool]) -> Runner:
    """Return a runner that is ended by the limit where wanted: the clock is at the limit when it answers."""

    def limited(settings: Any, half: str, limit_s: float) -> Answered:
        if wanted(settings, half):
            clock.now += limit_s + 0.01
            return {}, f"took longer than {limit_s:.0f} s and was killed"
        return run(settings, half, limit_s)

    return limited


class clock:  # noqa: N801
    """Stands for the module `time`."""

    now = 0.0

    @classmethod
    def monotonic(cls) -> float:
        return cls.now


@pytest.mark.slow
@pytest.mark.parametrize("half", ["choose", "report"])
def test_a_trial_ended_by_the_limit_tells_nothing_of_its_settings(
    half: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s2fast.tuning.trials.time", clock)
    path = tmp_path / "trials.jsonl"
    run, calls = stub(lower_ratio_is_better)
    late = cut(run, lambda settings, on: on == half and (half == "report" or bool(settings and len(calls) > 5)))
    tuned = found(path, late)
    assert all(json.loads(line)["reason"] == "" for line in path.read_text().splitlines())
    if half == "report":
        assert not tuned.settings
        assert "the time did not suffice to try a choice on the other half" in tuned.why
    # With time it is tried as if it had never been begun.
    assert list(found(path, run).settings) == ["matching.ratio"]


def test_without_time_for_the_defaults_more_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2fast.tuning.trials.time", clock)
    run, _ = stub(lower_ratio_is_better)
    with pytest.raises(ConfigError, match="minutes do not suffice"):
        found(tmp_path / "cut.jsonl", cut(run, lambda *_: True))
    with pytest.raises(ConfigError, match="minutes do not suffice"):
        found(tmp_path / "none.jsonl", run, trials=0)


def test_values_of_the_base_outside_the_space_are_not_left_by_rounding(tmp_path: Path) -> None:
    base = load_config(overrides={"features.threshold": 0.00512, "matching.ratio": 0.666})
    ends = searched(base)
    for key, near in (("features.threshold", 0.00511999), ("matching.ratio", 0.66600001)):
        values = ends[key]
        assert isinstance(values, Range)
        assert values.low <= rounded(values, near) <= values.high
    low = Range(0.0000123, 0.003, log=True)
    assert rounded(low, 0.00001231) == low.low
    found(tmp_path / "trials.jsonl", stub(lower_ratio_is_better)[0], base=base)


def test_defaults_that_verified_a_falsehood_are_not_called_fine(tmp_path: Path) -> None:
    run = stub(lambda *_: answer(0.5, 0.05, unrelated=1))[0]
    tuned = found(tmp_path / "trials.jsonl", run, trials=1)
    assert "the defaults failed or verified something false" in tuned.why


def test_trials_of_other_scenes_are_not_used(tmp_path: Path) -> None:
    run, calls = stub(lower_ratio_is_better)
    path = tmp_path / "trials.jsonl"
    Trials(path, run, 10, "one").get({}, "choose", 1)
    Trials(path, run, 10, "one").get({}, "choose", 1)
    assert len(calls) == 1
    Trials(path, run, 10, "another").get({}, "choose", 1)
    assert len(calls) == 2


def test_the_interval_of_a_difference_holds_equal_settings_and_shows_a_real_one() -> None:
    equal = [tuple(pair) for pair in answer(0.6, 0.05, seed=1)["pairs"]]
    other = [tuple(pair) for pair in answer(0.6, 0.05, seed=2)["pairs"]]
    better = [tuple(pair) for pair in answer(0.9, 0.02, seed=3)["pairs"]]
    _, low, high = difference(equal, other)
    assert low < 0 < high
    gain, low, high = difference(better, equal)
    assert 0 < low < gain < high
    assert gain == pytest.approx(score(better) - score(equal))
    assert difference(equal, equal) == (0, 0, 0)
    none = [(False, None)] * 8
    assert score(none) == 0


def test_the_score_equals_its_definition() -> None:
    draw = np.random.default_rng(0)
    for size in (1, 2, 7, 40):
        right = draw.random(size) < 0.6
        errors = draw.random(size)
        outcome = [(bool(ok), float(px) if ok else None) for ok, px in zip(right, errors, strict=True)]
        median = np.median(errors[right]) if right.any() else 0.0
        assert score(outcome) == pytest.approx(100 * right.mean() - 50 * median)


@pytest.mark.parametrize("name", ["unrelated_verified", "wrong_shifts", "null_verified"])
def test_each_falsehood_is_a_flaw(name: str) -> None:
    known = answer(0.5, 0.1)["answer"]
    assert flaw(known) == ""
    assert flaw(known | {name: 2}).startswith("verified 2 ")
