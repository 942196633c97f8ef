"""Stage 4: judge every matched pair: estimate its shift, find inliers, give a verdict, run null trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from s2fast.config import Config
from s2fast.errors import RunFolderError
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.stages import keys, match
from s2fast.stages.memory import MIB
from s2fast.stages.pairs import Pair, keypoint_counts, plan_blocks, wanted_pairs
from s2fast.stages.result import StageResult
from s2fast.stages.verdict_rule import Matched, VerdictRule
from s2fast.work.executors import Workplace, run_units
from s2fast.work.progress import Progress

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
        **{name: pa.int64() for name in ("null_trials", "null_verified")},
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


def run(record: RunRecord, folder: RunFolder, workplace: Workplace, progress: Progress) -> StageResult:
    """Judge every pair that has no verdict under its key.

    If verification is disabled, pairs get neither shift nor verdict, and all matches are kept.
    """
    config, rule = record.config, VerdictRule.of(record.config)
    pairs = wanted_pairs(record, folder, keys.verdict_key)
    with_matches = config.output.keep_matches != "none"
    stored = set(folder.verified.complete_rows(with_matches=with_matches)["key"])
    planned = plan_blocks(pairs, keypoint_counts(record, folder), config.compute.budget_mb * MIB)
    missing = [[pair for pair in block if pair.key not in stored] for block in planned]
    blocks = _with_matched_blocks(missing, record, folder)
    done = sum(len(block.pairs) for block in blocks)
    result = StageResult(kept=len(pairs) - done, done=done)
    with progress.stage("verify", done, result.kept) as bar:
        for block, _ in run_units(workplace, verify_unit, blocks, config, rule, folder.address):
            for _ in block.pairs:
                bar.advance()
    folder.verified.remove_stale({pair.key for pair in pairs}, with_matches=with_matches)
    return result


def _with_matched_blocks(blocks: Sequence[Sequence[Pair]], record: RunRecord, folder: RunFolder) -> list[Block]:
    """Find the blocks of matches for each block of pairs; drop blocks without pairs."""
    if not any(blocks):
        return []
    matched = {(pair.query, pair.train): pair.key for pair in wanted_pairs(record, folder, keys.pair_key)}
    whole = folder.matched.complete_rows(with_matches=True)
    block_of = dict(zip(whole["key"], whole["block"], strict=True))
    found = []
    for block in filter(None, blocks):
        names = [matched[pair.query, pair.train] for pair in block]
        missing = sum(name not in block_of for name in names)
        if missing:
            raise RunFolderError(f"{folder} has no matches for {missing} pairs under these settings: run match first")
        found.append(Block(tuple(block), tuple(sorted({block_of[name] for name in names}))))
    return found


def verify_unit(block: Block, config: Config, rule: VerdictRule, out: str) -> None:
    """Verify one block of pairs and write its verdicts and matches."""
    folder = RunFolder(out)
    names = {scene for pair in block.pairs for scene in (pair.query, pair.train)}
    scenes = match.load_scenes(folder, names, config.compute.budget_mb * MIB)
    rows, matches = folder.matched.read(block.matched)
    counts = {(row["query"], row["train"]): row for row in rows.to_pylist()}
    slices = match.rows_of_pairs(matches)
    columns = {name: matches[name].to_numpy() for name in ("query_row", "train_row", "distance")}
    verdicts, kept_rows, inliers = [], [], []
    for pair in block.pairs:
        at = slices.get((pair.query, pair.train), slice(0, 0))
        found = {name: column[at] for name, column in columns.items()}
        row = counts[pair.query, pair.train]
        matched = Matched(pair, scenes[pair.query], scenes[pair.train], **found, radius_m=row["radius_m"])
        verdict, inlier = rule.verdict(matched)
        verdicts.append(row | {"key": pair.key} | asdict(verdict))
        keep = inlier if config.output.keep_matches == "inliers" else np.ones(len(inlier), np.bool_)
        kept_rows.append(np.arange(at.start, at.stop)[keep])
        inliers.append(inlier[keep])
    kept = None
    if config.output.keep_matches != "none":
        flags = np.concatenate(inliers) if config.verification.enabled else [None] * sum(map(len, kept_rows))
        kept = matches.take(np.concatenate(kept_rows))
        kept = kept.set_column(kept.schema.get_field_index("inlier"), "inlier", pa.array(flags, pa.bool_()))
    folder.verified.write([pair.key for pair in block.pairs], pa.Table.from_pylist(verdicts, schema=ROW_SCHEMA), kept)
