"""Stage 3: match the features of every pair of scenes, in blocks of pairs.

If the run verifies too, a block is verified while its matches are in memory: see `s2fast.stages.verify`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from s2fast.config import Config
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.model import PairResult, columns_of
from s2fast.stages import keys, verify
from s2fast.stages.blocks_at_once import Shared, blocks_side_by_side
from s2fast.stages.device_budget import within_device_budget
from s2fast.stages.good_matches import GoodMatches
from s2fast.stages.matching_rule import Matches, MatchingRule, similarity_pct
from s2fast.stages.pairs import Pair, keypoint_counts, plan_blocks, wanted_pairs
from s2fast.stages.result import StageResult
from s2fast.stages.scenes import scenes_of_thread, threads_that_pay
from s2fast.stages.verdict_rule import VerdictRule
from s2fast.work.executors import Workplace
from s2fast.work.progress import Progress
from s2fast.work.units import run_units
from s2fast_kernels.machine import MIB
from s2fast_kernels.threads import at_most_threads


def run(
    record: RunRecord, folder: RunFolder, workplace: Workplace, progress: Progress, *, verifies: bool = False
) -> StageResult:
    """Match every pair that has no result under its key, and remove stale results.

    Parameters
    ----------
    record, folder, workplace, progress
        As for all stages.
    verifies
        Whether to verify blocks at once, if none of their pairs has a verdict; `StageResult.ahead` counts them.
    """
    config = record.config
    rule = MatchingRule.of(config.matching, config.compute.device)
    pairs = wanted_pairs(record, folder, keys.pair_key)
    stored = {key for block in folder.matched.complete_keys(with_matches=True).values() for key in block}
    budget_bytes, keypoints = config.compute.budget_mb * MIB, keypoint_counts(record, folder)
    # Plan all pairs, including those already stored, so that a resumed run writes the same files as an uninterrupted
    # one.
    planned = plan_blocks(pairs, keypoints, budget_bytes)
    if verifies:
        judged = wanted_pairs(record, folder, keys.verdict_key)
        planned = _with_verdict_keys(planned, verify.missing_verdicts(judged, record.config, folder), stored)
    blocks = [tuple(pair for pair in block if pair.key not in stored) for block in planned]
    done = sum(map(len, blocks))
    result = StageResult(kept=len(pairs) - done, done=done, backend=rule.backend, device=rule.device)
    result.ahead = sum(bool(pair.verdict_key) for block in blocks for pair in block)
    if done:
        workplace.wait_for_kernels()
    with (
        progress.stage("match", done, result.kept) as bar,
        blocks_side_by_side(workplace, folder, keypoints.values(), rule, config.compute) as (place, shared),
    ):
        context = rule, budget_bytes, folder.address, config, shared
        for block, _ in run_units(place, match_unit, filter(None, blocks), *context):
            for _ in block:
                bar.advance()
    folder.matched.remove_stale({pair.key for pair in pairs}, with_matches=True)
    return result


def _with_verdict_keys(
    planned: Sequence[Sequence[Pair]], verdicts: dict[tuple[str, str], str], stored: set[str]
) -> list[tuple[Pair, ...]]:
    """Add the keys of the verdicts to the pairs of all blocks whose missing matches and missing verdicts coincide.

    All other blocks are left to the stage `verify`, which writes all missing verdicts of a block into one file.
    """
    found = []
    for block in planned:
        keys_of = [verdicts.get((pair.query, pair.train), "") for pair in block]
        at_once = all((pair.key in stored) != bool(key) for pair, key in zip(block, keys_of, strict=True))
        found.append(
            tuple(replace(pair, verdict_key=key) for pair, key in zip(block, keys_of, strict=True))
            if at_once
            else tuple(block)
        )
    return found


def match_unit(
    block: Sequence[Pair],
    rule: MatchingRule,
    budget_bytes: int,
    out: str,
    config: Config | None = None,
    shared: Shared | None = None,
) -> None:
    """Match one block of pairs and write its results and matches; verify it too if the pairs have verdict keys.

    Parameters
    ----------
    block
        The pairs.
    rule
        Rule by which they are matched.
    budget_bytes
        Memory for scenes, including those cached for later blocks.
    out
        Address of the run folder.
    config
        Settings of the run; needed only to verify.
    shared
        What the units of this process share; None: this thread is a worker's.
    """
    shared = shared or Shared(RunFolder(out), scenes_of_thread(budget_bytes))
    rule = rule.in_this_process(config.compute.device) if config else rule
    scenes = shared.scenes.load(shared.folder, {scene for pair in block for scene in (pair.query, pair.train)})
    verdicts = VerdictRule(rule, config.verification) if config and all(pair.verdict_key for pair in block) else None
    pairs = [(scenes[pair.query], scenes[pair.train]) for pair in block]
    nulls = None
    with at_most_threads(threads_that_pay([len(scene.descriptors) for scene in scenes.values()], rule.settings)):
        with within_device_budget(config):
            if verdicts and verdicts.searches_nulls:
                found, nulls = verdicts.search(block, pairs)
            else:
                found = list(rule.good_matches(pairs))
        good = GoodMatches(block, found)
        results = [
            pair_result(pair, query.count_for(train), train.count_for(query), matches)
            for pair, (query, train), matches in zip(block, pairs, found, strict=True)
        ]
        counts = pa.table(columns_of(results))
        shared.folder.matched.write([pair.key for pair in block], counts, good.table())
        if config and verdicts:
            judged = tuple(replace(pair, key=pair.verdict_key) for pair in block)
            held = verify.Held(scenes, counts, GoodMatches(judged, found), nulls)
            verify.verify_unit(verify.Block(judged, ()), config, verdicts, out, shared, held)


def pair_result(pair: Pair, n_query: int, n_train: int, matches: Matches) -> PairResult:
    """Return the counts and the similarity of one pair."""
    n_good = len(matches.query_row)
    similarity = similarity_pct(n_good, n_query)
    return PairResult(pair.query, pair.train, n_query, n_train, n_good, similarity, pair.key, matches.radius_m)
