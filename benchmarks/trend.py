"""How fast s2fast has been against its peers: ``python -m benchmarks trend``.

With --measure, first times the operations and, in turn with them, OpenCV's and FAISS's, and appends the ratios to the
history. A ratio of two things timed in the same minute on the same cores means the same on another machine, or nearly;
seconds would not. Then draws the history: a page with a line for every operation, peer and kind of machine.
"""

from __future__ import annotations

import argparse
import html
import io
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.harness import emit, environment, interleaved, ratio

HISTORY = Path(__file__).parent / "history.jsonl"

Record = dict[str, Any]


def main(argv: Sequence[str]) -> int:
    """Measure if asked to, print and draw the history."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks trend", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true", help="append today's ratios to the history first")
    parser.add_argument("--quick", action="store_true", help="with --measure: small operands, to see that it works")
    parser.add_argument("--history", type=Path, default=HISTORY, help="JSON lines")
    parser.add_argument("--out", type=Path, default=Path("trend.html"))
    parser.add_argument("--json", action="store_true", help="print the history as JSON lines")
    options = parser.parse_args(argv)
    if options.measure:
        with options.history.open("a", encoding="utf-8") as file:
            for record in measured(quick=options.quick):
                file.write(json.dumps(record) + "\n")
    history = read(options.history)
    for record in history:
        if options.json:
            print(json.dumps(record))
        else:
            shown = {name: record[name] for name in ("time", "commit", "operation", "peer", "times_faster")}
            emit({**shown, "machine": record["environment"]["machine"]}, as_json=False)
    options.out.write_text(page(history), "utf-8")
    return 0


def measured(*, quick: bool) -> Iterator[Record]:
    """Time every operation in turn with its peers, answers checked first."""
    from benchmarks.sweep.runner import revision

    start = {key: environment()[key] for key in ("time",)} | revision()
    for operation, (ours, peers) in contests(quick=quick).items():
        seconds = interleaved({"ours": ours, **peers}, 3 if quick else 7)
        for peer in peers:
            yield {
                **start,
                "operation": operation,
                "peer": peer,
                "times_faster": round(ratio(seconds[peer], seconds["ours"]), 3),
                "ours_s": round(float(np.median(seconds["ours"])), 5),
                "environment": environment(),
            }


def contests(*, quick: bool) -> dict[str, tuple[Callable[[], object], dict[str, Callable[[], object]]]]:
    """List operations with their peers, on operands from a seed."""
    from benchmarks import bench_hamming, peers
    from s2fast_kernels.akaze import akaze
    from s2fast_kernels.akaze.cases import synthetic_image
    from s2fast_kernels.hamming_top2 import hamming_top2
    from s2fast_kernels.hamming_top2.cases import random_descriptors

    rows, side = (1_000, 256) if quick else (6_000, 1024)
    rng = np.random.default_rng(0)
    query, train = random_descriptors(rng, rows), random_descriptors(rng, rows)
    image = synthetic_image((side, side))
    searches: dict[str, Callable[[], object]] = {
        "OpenCV BFMatcher, 61 B": partial(peers.opencv, query, train),
        "FAISS knn_hamming heap, 64 B": peers.faiss_searches(query, train)["faiss knn_hamming heap, 64 B"],
    }
    for name, search in searches.items():
        bench_hamming.check(np.asarray(search()), query, train, name)
    offsets = bench_hamming.one_scene(len(train))
    return {
        "hamming_top2": (partial(hamming_top2, query, train, offsets, backend="numba"), searches),
        "akaze": (partial(akaze, image, backend="numba"), {"OpenCV AKAZE": partial(akaze, image, backend="opencv")}),
    }


def read(path: Path) -> list[Record]:
    """Read the history; none is an empty one."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def page(history: Sequence[Record]) -> str:
    """Draw the history: ratios by date, one line for every operation and peer on one kind of machine."""
    frame = pd.DataFrame(
        [{**record, "machine": record["environment"]["machine"].split(" avx")[0]} for record in history]
    )
    drawings = "".join(
        f"<h2>{html.escape(str(operation))}</h2>{drawing(rows)}"
        for operation, rows in (frame.groupby("operation") if len(frame) else ())
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Trend</title></head>'
        '<body style="font: 15px system-ui, sans-serif; max-width: 60rem; margin: 2rem auto"><h1>Times faster than the '
        f"peers</h1>{drawings or '<p>The history is empty.</p>'}</body></html>\n"
    )


def drawing(rows: pd.DataFrame) -> str:
    """Draw one operation's ratios as SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "trend"}):
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        axes = figure.subplots()
        for (peer, machine), line in rows.groupby(["peer", "machine"]):
            line = line.sort_values("time")
            axes.plot(pd.to_datetime(line["time"]), line["times_faster"], "o-", label=f"{peer}; {machine}")
        axes.set(ylabel="times faster", ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        axes.tick_params("x", rotation=20)
        sink = io.StringIO()
        figure.savefig(sink, format="svg", metadata={"Date": None})
    text = sink.getvalue()
    return text[text.index("<svg") :]
