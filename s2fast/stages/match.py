"""Stage 3: match the features of every pair of scenes, in blocks of pairs.

If the run verifies too, a block is verified while its matches are in memory: see `s2fast.stages.verify`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from s2fast.config import Config
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.model import PairResult, columns_of
from s2fast.stages import keys, verify
from s2fast.stages.device_budget import within_device_budget
from s2fast.stages.good_matches import GoodMatches
from s2fast.stages.matching_rule import Matches, MatchingRule, similarity_pct
from s2fast.stages.pairs import Pair, keypoint_counts, plan_blocks, wanted_pairs
from s2fast.stages.result import StageResult
from s2fast.stages.scenes import load_scenes, threads_that_pay
from s2fast.stages.verdict_rule import VerdictRule
from s2fast.work.executors import Workplace
from s2fast.work.progress import Progress
from s2fast.work.units import run_units
from s2fast.work.writer import Writer
from s2fast_kernels.backends import CPU
from s2fast_kernels.machine import MIB, available_cores
from s2fast_kernels.threads import at_most_threads, threads_here


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
    budget_bytes = config.compute.budget_mb * MIB
    # Plan all pairs, including those already stored, so that a resumed run writes the same files as an uninterrupted
    # one.
    planned = plan_blocks(pairs, keypoint_counts(record, folder), budget_bytes)
    if verifies:
        judged = wanted_pairs(record, folder, keys.verdict_key)
        planned = _with_verdict_keys(planned, verify.missing_verdicts(judged, record.config, folder), stored)
    blocks = [tuple(pair for pair in block if pair.key not in stored) for block in planned]
    done = sum(map(len, blocks))
    result = StageResult(kept=len(pairs) - done, done=done, backend=rule.backend, device=rule.device)
    result.ahead = sum(bool(pair.verdict_key) for block in blocks for pair in block)
    if done:
        workplace.wait_for_kernels()
    with progress.stage("match", done, result.kept) as bar, ExitStack() as resources:
        # Only a unit of this process can leave its results to a thread that outlives it.
        shared = Shared()
        if workplace.in_process:
            shared.folder, shared.writer = folder, resources.enter_context(closing(Writer()))
            if rule.device != CPU or (workplace.threads or available_cores()) > 1:
                shared.judge = resources.enter_context(closing(Writer()))
        for block, _ in run_units(
            workplace, match_unit, filter(None, blocks), rule, budget_bytes, folder.address, config, shared
        ):
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


@dataclass(slots=True)
class Shared:
    """What the units of this process share: the run folder, and threads that go on with a block during the next one."""

    writer: Writer | None = None
    """Writes results; None: they are written when `match_unit` returns."""
    judge: Writer | None = None
    """Verifies on the CPU what has been matched, there or on a device; None: a block is verified when `match_unit`
    returns."""
    folder: RunFolder | None = None
    """The run folder, which remembers the keys of the pairs written through it; None: each unit opens it."""


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
        What this process has for all blocks; None: nothing.
    """
    shared = shared or Shared()
    with ExitStack() as own:
        writer = shared.writer or own.enter_context(closing(Writer()))
        rule = rule.in_this_process(config.compute.device) if config else rule
        folder = shared.folder or RunFolder(out)
        scenes = load_scenes(folder, {scene for pair in block for scene in (pair.query, pair.train)}, budget_bytes)
        threads = threads_that_pay(scenes.values(), rule.settings)
        verdicts = None
        if config and all(pair.verdict_key for pair in block):
            verdicts = VerdictRule(rule, config.verification)
        pairs = [(scenes[pair.query], scenes[pair.train]) for pair in block]
        nulls = None
        with at_most_threads(threads), within_device_budget(config):
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
        writer.wait()  # for the block before this one: no more than one waits
        # A block's matches are encoded and written while the block is verified.
        writer.submit(lambda: folder.matched.write([pair.key for pair in block], counts, good.table()))
        if config and verdicts:
            judged = tuple(replace(pair, key=pair.verdict_key) for pair in block)
            held = verify.Held(scenes, counts, GoodMatches(judged, found), nulls, writer, shared.folder)
            most = min(threads, threads_here())
            judge = partial(_verified, verify.Block(judged, ()), config, verdicts, out, held, most)
            if shared.judge is None:
                judge()
            else:
                shared.judge.wait()  # for the block before this one: matches of two blocks fit into the budget
                shared.judge.submit(judge)


def _verified(
    block: verify.Block, config: Config, rule: VerdictRule, out: str, held: verify.Held, threads: int
) -> None:
    """Verify a block with at most so many threads."""
    with at_most_threads(threads):
        verify.verify_unit(block, config, rule, out, held)


def pair_result(pair: Pair, n_query: int, n_train: int, matches: Matches) -> PairResult:
    """Return the counts and the similarity of one pair."""
    n_good = len(matches.query_row)
    similarity = similarity_pct(n_good, n_query)
    return PairResult(pair.query, pair.train, n_query, n_train, n_good, similarity, pair.key, matches.radius_m)
