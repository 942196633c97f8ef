"""A block of pairs is one search, null trials included, within a GPU's memory."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from s2fast.config import Config, load_config
from s2fast.errors import ConfigError
from s2fast.folder.run_folder import RunFolder
from s2fast.stages import matching_rule, verdict_rule
from s2fast.stages.match import match_unit
from s2fast.stages.matching_rule import MatchingRule
from s2fast.stages.pairs import Pair
from s2fast.stages.verdict_rule import VerdictRule
from s2fast.stages.verify import Block, verify_unit
from s2fast_kernels import window_matches
from s2fast_kernels.window_matches import device_rows
from tests.folders import put_scene, random_features
from tests.stages.test_verify import moved
from tests.test_pipeline import digests

NAMES = "abc"
PAIRS = tuple(Pair(q, t, f"{q}{t}", f"verdict of {q}{t}") for q, t in ("ab", "ac", "bc"))


def written(out: Path, config: Config, backend: str = "numba") -> dict[str, str]:
    """Match and verify three scenes in two blocks; what the files hold."""
    folder, rng = RunFolder(out), np.random.default_rng(0)
    folder.create()
    first = random_features(rng, 300)
    for name, features in zip(
        NAMES, (first, moved(first, rng, (1.5, -2.0)), moved(first, rng, (2.0, 1.0))), strict=True
    ):
        put_scene(folder, name, features)
    rule = MatchingRule(config.matching, backend)
    for block in (PAIRS[:2], PAIRS[2:]):
        match_unit(block, rule, 1 << 30, str(out), config)
    return results(out)


def with_budget(config: Config, device_budget_mb: int) -> Config:
    """Return settings with a budget below the least that a run accepts."""
    return config.model_copy(
        update={"compute": config.compute.model_copy(update={"device_budget_mb": device_budget_mb})}
    )


def results(out: Path) -> dict[str, str]:
    kept = ("good", "matches", "pairs", "verified")
    return {name: content for name, content in digests(out).items() if name.split("/")[0] in kept}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_null_trials_are_searched_with_the_pairs_and_in_parts(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, places = load_config(overrides={"verification.nulls": 5}), []
    search = window_matches.window_matches

    def counted(pairs: list, away: np.ndarray, *rest: object, **options: object) -> object:  # type: ignore[type-arg]
        places.append(away.shape[:2])
        return search(pairs, away, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(window_matches, "window_matches", counted)
    wanted = written(tmp_path / "at once", config, backend)
    assert places == [(2, 6), (1, 6)]
    assert len(wanted) == 8
    rows = RunFolder(tmp_path / "at once").verified.rows()
    assert rows["verified"].all()
    assert rows["null_trials"].tolist() == [5, 5, 5]
    places.clear()
    monkeypatch.setattr(verdict_rule, "MOST_ROWS", 600)
    assert written(tmp_path / "in parts", config, backend) == wanted
    assert places == [(2, 2), (2, 1), (2, 1), (2, 1), (2, 1), (1, 3), (1, 2), (1, 1)]
    # Verified later, from what is stored.
    rule, later = (
        VerdictRule(MatchingRule(config.matching, backend), config.verification),
        RunFolder(tmp_path / "later"),
    )
    written(tmp_path / "later", config, backend)
    for path in (tmp_path / "later" / "verified", tmp_path / "later" / "matches"):
        for file in path.iterdir():
            file.unlink()
    for keys in (("ab", "ac"), ("bc",)):
        pairs = tuple(replace(pair, key=pair.verdict_key) for pair in PAIRS if pair.key in keys)
        stored = later.matched.complete_keys(with_matches=True)
        verify_unit(
            Block(pairs, tuple(name for name, held in stored.items() if held == list(keys))),
            config,
            rule,
            str(tmp_path / "later"),
        )
    assert results(tmp_path / "later") == wanted


@pytest.mark.slow
def test_a_small_device_gives_the_same_results(tmp_path: Path) -> None:
    overrides = {"verification.nulls": 3}
    wanted = written(tmp_path / "large", load_config(overrides=overrides), "torch")
    # Two scenes of 300 keypoints need 0.3 MB, three with all trials 1.5 MB.
    assert written(tmp_path / "small", with_budget(load_config(overrides=overrides), 1), "torch") == wanted


def test_a_device_that_is_too_small_is_one_line_that_names_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_budget(load_config(), 1)
    folder = RunFolder(tmp_path)
    folder.create()
    for name in "ab":
        put_scene(folder, name, random_features(np.random.default_rng(0), 2_000))
    rule = MatchingRule(config.matching, "torch")
    with pytest.raises(ConfigError) as refused:
        match_unit(PAIRS[:1], rule, 1 << 30, str(tmp_path), config)
    assert str(refused.value) == (
        "scenes of 2000 and 2000 keypoints need 2 MiB of cpu, and searches may take 1 MiB; compute.device_budget_mb is "
        "1: set it to what is free there, or set features.max_per_scene"
    )

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(device_rows.Pool, "of", fail)
    enough = with_budget(load_config(), 100)
    with pytest.raises(ConfigError, match=r"^cpu has less .* than the 100 MiB .* compute.device_budget_mb is 100.*$"):
        match_unit(PAIRS[:1], rule, 1 << 30, str(tmp_path), enough)


def test_a_worker_selects_its_own_gpu_and_the_cpu_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching_rule, "find_device", {"auto": "cuda:1", "cuda:0": "cuda:0"}.get)
    rule = MatchingRule(load_config().matching, "triton", "cuda:0")
    assert rule.in_this_process("auto").device == "cuda:1"
    assert rule.in_this_process("cuda:0") == rule
    on_cpu = MatchingRule(load_config().matching, "numba")
    assert on_cpu.in_this_process("auto") == on_cpu
