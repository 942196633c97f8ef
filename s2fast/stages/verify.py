"""Stage 4: judge every matched pair: estimate its shift, find inliers, give a verdict, run null trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from s2fast.config import Config
from s2fast.errors import RunFolderError
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.model import columns_of
from s2fast.stages import keys
from s2fast.stages.blocks_at_once import Shared, blocks_side_by_side
from s2fast.stages.device_budget import within_device_budget
from s2fast.stages.good_matches import GoodMatches
from s2fast.stages.matched_pair import MatchedPair
from s2fast.stages.matched_scene import MatchedScene
from s2fast.stages.matching_rule import similarity_pct
from s2fast.stages.pairs import Pair, keypoint_counts, plan_blocks, wanted_pairs
from s2fast.stages.result import StageResult
from s2fast.stages.scenes import scenes_of_thread
from s2fast.stages.second_look import Look, second_looks
from s2fast.stages.verdict_rule import Nulls, VerdictRule
from s2fast.work.executors import Workplace
from s2fast.work.progress import Progress
from s2fast.work.units import run_units
from s2fast_kernels.machine import MIB

ROW_SCHEMA = pa.schema(
    {
        **{name: pa.string() for name in ("query", "train", "key")},
        **{name: pa.int64() for name in ("n_query", "n_train", "n_good")},
        "similarity_pct": pa.float64(),
        "n_inliers": pa.int64(),
        **{name: pa.float64() for name in ("dx_m", "dy_m", "dx_px", "dy_px", "shift_error_m")},
        "verified": pa.bool_(),
        "overlap_pct": pa.float64(),
        "verdict": pa.string(),
        "n_witnesses": pa.int64(),
        "model": pa.string(),
        **{name: pa.float64() for name in ("rotation_deg", "rotation_error_deg", "scale", "scale_error", "shear")},
        **{name: pa.float64() for name in ("rival_dx_m", "rival_dy_m", "searched_m")},
        **{name: pa.int64() for name in ("null_trials", "null_verified", "looks")},
    }
)
"""Columns of ``verified/*.parquet``: `PairResult` and `PairVerdict`."""


@dataclass(frozen=True, slots=True)
class Block:
    """Pairs to verify together."""

    pairs: tuple[Pair, ...]
    """The pairs, with the content keys of their verdicts."""
    matched: tuple[str, ...]
    """Names of the blocks of `RunFolder.matched` that contain their matches."""

    def __str__(self) -> str:
        return str(self.pairs)


@dataclass(frozen=True, slots=True)
class Held:
    """What `verify_unit` needs of a block that has just been matched, and is not written to be read again."""

    scenes: Mapping[str, MatchedScene]
    """The scenes by id."""
    counts: pa.Table
    """The rows of `RunFolder.matched`, one per pair."""
    found: GoodMatches
    """The matches."""
    nulls: Nulls | None = None
    """The null trials, if they were searched with the pairs."""


def run(
    record: RunRecord, folder: RunFolder, workplace: Workplace, progress: Progress, *, verified: int = 0
) -> StageResult:
    """Judge every pair that has no verdict under its key.

    If verification is disabled, pairs get neither shift nor verdict, and all matches are kept.

    Parameters
    ----------
    record, folder, workplace, progress
        As for all stages.
    verified
        Number of pairs that the stage `match` of the same run has judged.
    """
    config, rule = record.config, VerdictRule.of(record.config)
    pairs = wanted_pairs(record, folder, keys.verdict_key)
    wanted = missing_verdicts(pairs, config, folder)
    keypoints = keypoint_counts(record, folder)
    planned = plan_blocks(pairs, keypoints, config.compute.budget_mb * MIB)
    missing = [[pair for pair in block if (pair.query, pair.train) in wanted] for block in planned]
    blocks = _with_matched_blocks(missing, record, folder)
    left = sum(len(block.pairs) for block in blocks)
    result = StageResult(kept=len(pairs) - left - verified, done=left + verified)
    if left:
        workplace.wait_for_kernels()
    if verified and not left:
        progress.print_line(f"verify: {verified} done while they were matched, {result.kept} up to date")
    else:
        with (
            progress.stage("verify", left, len(pairs) - left) as bar,
            blocks_side_by_side(workplace, folder, keypoints.values(), rule.matching, config.compute) as (
                place,
                shared,
            ),
        ):
            for block, _ in run_units(place, verify_unit, blocks, config, rule, folder.address, shared):
                for _ in block.pairs:
                    bar.advance()
    folder.verified.remove_stale({pair.key for pair in pairs}, with_matches=config.output.keep_matches != "none")
    return result


def check_inputs(record: RunRecord, folder: RunFolder) -> None:
    """Check that all pairs without a verdict have matches under the run's settings.

    Raises
    ------
    RunFolderError
        A scene has no features, or a pair no matches.
    """
    pairs = wanted_pairs(record, folder, keys.verdict_key, searches=False)
    missing = missing_verdicts(pairs, record.config, folder)
    _with_matched_blocks([[pair for pair in pairs if (pair.query, pair.train) in missing]], record, folder)


def missing_verdicts(pairs: Sequence[Pair], config: Config, folder: RunFolder) -> dict[tuple[str, str], str]:
    """Return the content keys of the verdicts that are not stored, by query and train; `pairs` have all keys."""
    blocks = folder.verified.complete_keys(with_matches=config.output.keep_matches != "none")
    stored = {key for block in blocks.values() for key in block}
    return {(pair.query, pair.train): pair.key for pair in pairs if pair.key not in stored}


def _with_matched_blocks(blocks: Sequence[Sequence[Pair]], record: RunRecord, folder: RunFolder) -> list[Block]:
    """Find the blocks of matches for each block of pairs; drop blocks without pairs."""
    if not any(blocks):
        return []
    matched = {(pair.query, pair.train): pair.key for pair in wanted_pairs(record, folder, keys.pair_key)}
    whole = folder.matched.complete_keys(with_matches=True)
    block_of = {key: name for name, block in whole.items() for key in block}
    named = [(tuple(block), [matched[pair.query, pair.train] for pair in block]) for block in blocks if block]
    missing = sum(name not in block_of for _, names in named for name in names)
    if missing:
        raise RunFolderError(f"{folder} has no matches for {missing} pairs under these settings: run match first")
    return [Block(block, tuple(sorted({block_of[name] for name in names}))) for block, names in named]


def verify_unit(
    block: Block,
    config: Config,
    rule: VerdictRule,
    out: str,
    shared: Shared | None = None,
    held: Held | None = None,
) -> None:
    """Verify one block of pairs and write its verdicts and matches.

    Parameters
    ----------
    block
        The pairs.
    config
        Settings of the run.
    rule
        Rule by which they are judged.
    out
        Address of the run folder.
    shared
        What the units of this process share; None: this thread is a worker's.
    held
        The block as it has just been matched; None: read it from the run folder.
    """
    shared = shared or Shared(RunFolder(out), scenes_of_thread(config.compute.budget_mb * MIB))
    rule = replace(rule, matching=rule.matching.in_this_process(config.compute.device))
    held = held or _read(shared, block)
    matched = [
        MatchedPair.unmatched(pair, held.scenes[pair.query], held.scenes[pair.train], matches.radius_m).with_matches(
            matches
        )
        for pair, matches in zip(block.pairs, held.found.matches, strict=True)
    ]
    with within_device_budget(config):
        judged = rule.verdicts(matched, held.nulls)
        looks = second_looks(rule, matched, judged)
    found, counts = held.found, held.counts
    if looks:
        found, counts = _replaced(found, counts, looks)
        judged = [
            (looks[number].verdict, looks[number].inlier) if number in looks else first
            for number, first in enumerate(judged)
        ]

    names = [pair.key for pair in block.pairs]
    columns = {name: counts[name] for name in ROW_SCHEMA.names if name in counts.column_names}
    columns |= {"key": names} | columns_of([verdict for verdict, _ in judged])
    kept = None
    if config.output.keep_matches != "none":
        inlier = [flags for _, flags in judged] if config.verification.enabled else None
        kept = found.table(inlier, inliers_only=config.output.keep_matches == "inliers" and inlier is not None)
    rows = pa.table({name: columns[name] for name in ROW_SCHEMA.names}, ROW_SCHEMA)
    shared.folder.verified.write(names, rows, kept)


def _replaced(found: GoodMatches, counts: pa.Table, looks: Mapping[int, Look]) -> tuple[GoodMatches, pa.Table]:
    """Return the matches of a block and their counts, with those of pairs that were looked at again."""
    matches = list(found.matches)
    for number, look in looks.items():
        matches[number] = look.matches(matches[number])
    n_good = [len(part.query_row) for part in matches]
    similarity = [similarity_pct(*pair) for pair in zip(n_good, counts["n_query"].to_pylist(), strict=True)]
    for name, values in (("n_good", n_good), ("similarity_pct", similarity)):
        at = counts.column_names.index(name)
        counts = counts.set_column(at, name, pa.array(values, counts.schema.field(name).type))
    return GoodMatches(found.pairs, matches), counts


def _read(shared: Shared, block: Block) -> Held:
    """Read a block that was matched earlier."""
    scenes = shared.scenes.load(shared.folder, {scene for pair in block.pairs for scene in (pair.query, pair.train)})
    rows, matches = shared.folder.matched.read(block.matched)
    at = {pair: row for row, pair in enumerate(zip(rows["query"].to_pylist(), rows["train"].to_pylist(), strict=True))}
    ordered = rows.take([at[pair.query, pair.train] for pair in block.pairs]).combine_chunks()
    return Held(scenes, ordered, GoodMatches.of_tables(block.pairs, ordered["radius_m"].to_pylist(), matches))
