"""Write a sweep as a self-contained page: a plot for every pair of cost and gain, and the table."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Sequence
from typing import Any

from benchmarks.sweep.grid import Plot, SweepFile
from benchmarks.sweep.pareto import front

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b2733 }
svg { max-width: 100%; height: auto }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #d9dfe5; white-space: nowrap }
th:nth-child(2), td:nth-child(2) { text-align: left }
tr.front { background: #e8f3ec; font-weight: 600 }
tr.failed { color: #a33 }
p.note { color: #55616d }
"""

_FIXED = ("label", "seconds", "peak_mb")


def shown_columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the columns of a table: label, costs, and the quality and counts that any row has."""
    names: dict[str, None] = dict.fromkeys(_FIXED)
    for row in rows:
        names.update(dict.fromkeys(name for name in row if name.startswith("quality.")))
    names.update(dict.fromkeys(("counts.keypoints", "counts.comparisons")))
    return [name for name in names if any(row.get(name) is not None for row in rows)]


def points_of(rows: Sequence[dict[str, Any]], plot: Plot) -> tuple[list[int], list[float], list[float]]:
    """Return the indices of the rows that have both figures, and the figures."""
    indices = [
        index for index, row in enumerate(rows) if row.get(plot.cost) is not None and row.get(plot.gain) is not None
    ]
    return indices, [float(rows[i][plot.cost]) for i in indices], [float(rows[i][plot.gain]) for i in indices]


def front_of(rows: Sequence[dict[str, Any]], plot: Plot) -> set[int]:
    """Return the indices of the rows on a plot's Pareto front."""
    indices, costs, gains = points_of(rows, plot)
    return {indices[at] for at in front(costs, gains)}


def drawing(rows: Sequence[dict[str, Any]], plot: Plot) -> str:
    """Draw one plot as SVG: cases as numbered points, the Pareto front as a line."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    indices, costs, gains = points_of(rows, plot)
    if not indices:
        return f"<p>No case has both {html.escape(plot.cost)} and {html.escape(plot.gain)}.</p>"
    best = front(costs, gains)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": f"{plot.cost}{plot.gain}", "font.size": 9}):
        figure = Figure(figsize=(8.4, 4.6), layout="constrained")
        axes = figure.subplots()
        axes.scatter(costs, gains, s=22, color="#8a97a3", zorder=2)
        axes.step([costs[i] for i in best], [gains[i] for i in best], where="post", color="#2f855a", lw=1.2, zorder=1)
        axes.scatter(
            [costs[i] for i in best], [gains[i] for i in best], s=44, color="#2f855a", zorder=3, label="Pareto front"
        )
        for index, cost, gain in zip(indices, costs, gains, strict=True):
            axes.annotate(str(index + 1), (cost, gain), (4, 4), textcoords="offset points")
        if min(costs) > 0 and max(costs) / min(costs) > 30:
            axes.set_xscale("log")
        if min(gains) > 0 and max(gains) / min(gains) > 30:
            axes.set_yscale("log")
        axes.set(xlabel=f"{plot.cost} (less is better)", ylabel=f"{plot.gain} (more is better)")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", frameon=False)
        sink = io.StringIO()
        figure.savefig(sink, format="svg", metadata={"Date": None})
    text = sink.getvalue()
    # Drop the XML prologue, since the drawing is part of the page.
    return text[text.index("<svg") :]


def cell(value: Any) -> str:
    """Format a value for a table."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def table(rows: Sequence[dict[str, Any]], best: set[int]) -> str:
    """Format the rows as an HTML table; those on the first plot's front are highlighted."""
    names = shown_columns(rows)
    head = "".join(f"<th>{html.escape(name.removeprefix('quality.').removeprefix('counts.'))}</th>" for name in names)
    lines = [f"<tr><th>#</th>{head}<th></th></tr>"]
    for index, row in enumerate(rows):
        kind = "failed" if row["status"] != "ok" else "front" if index in best else ""
        cells = "".join(f"<td>{html.escape(cell(row.get(name)))}</td>" for name in names)
        lines.append(f'<tr class="{kind}"><td>{index + 1}</td>{cells}<td>{html.escape(row["reason"] or "")}</td></tr>')
    return f"<table>{''.join(lines)}</table>"


def page(sweep: SweepFile, rows: Sequence[dict[str, Any]]) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    sweep
        The sweep.
    rows
        Flat rows, see `benchmarks.sweep.runner.columns`.
    """
    last = rows[-1] if rows else {}
    total = f"{len(rows)} cases, {sum(row['status'] != 'ok' for row in rows)} failed"
    where = f"{last.get('environment.machine', '')}, {last.get('environment.cores', '')} cores"
    revision = f"{str(last.get('commit', ''))[:12]}{' with changes' if last.get('dirty') else ''}"
    plots = "".join(
        f"<h2>{html.escape(p.gain)} against {html.escape(p.cost)}</h2>{drawing(rows, p)}" for p in sweep.plot
    )
    best = front_of(rows, sweep.plot[0])
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(sweep.name)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>Sweep: {html.escape(sweep.name)}</h1>"
        f'<p class="note">{html.escape(total)}; {html.escape(where)}; commit {html.escape(revision)}. Seconds include'
        " every stage that a case needs, computed in this case or shared with an earlier one.</p>"
        f'{plots}<h2>All cases</h2><p class="note">Shaded: on the first plot\'s Pareto front.</p>{table(rows, best)}'
        "</body></html>\n"
    )
