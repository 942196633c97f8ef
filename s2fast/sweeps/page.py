"""Write a sweep as a self-contained page: what the cases are best at, a plot per pair of cost and gain, the table."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from typing import Any

from s2fast.sweeps.columns import NOISE, FlatRow, best_lines, best_of, cell, shown_columns
from s2fast.sweeps.grid import Plot, SweepFile
from s2fast.sweeps.pareto import front

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #1b2733 }
svg { max-width: 100%; height: auto }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #d9dfe5; white-space: nowrap }
th { vertical-align: bottom; white-space: normal; cursor: help }
th:nth-child(2), td:nth-child(2) { text-align: left }
td.best { background: #d3ecdb; font-weight: 600 }
tr.failed { color: #a33 }
p.note, li small { color: #55616d }
dt { font-weight: 600; float: left; clear: left; margin-right: .5rem }
dd { margin: 0 0 .3rem }
"""


_BEST = ("", "best")


def points_of(rows: Sequence[FlatRow], plot: Plot) -> tuple[list[int], list[float], list[float]]:
    """Return the indices of the rows that have both figures, and the figures."""
    indices = [
        index for index, row in enumerate(rows) if row.get(plot.cost) is not None and row.get(plot.gain) is not None
    ]
    return indices, [float(rows[i][plot.cost]) for i in indices], [float(rows[i][plot.gain]) for i in indices]


def front_of(rows: Sequence[FlatRow], plot: Plot) -> set[int]:
    """Return the indices of the rows on a plot's Pareto front."""
    indices, costs, gains = points_of(rows, plot)
    return {indices[at] for at in front(costs, gains)}


def title_of(name: str) -> str:
    """Return a column's name as people read it."""
    return name.rpartition(".")[2].replace("_", " ")


def drawing(rows: Sequence[FlatRow], plot: Plot) -> str:
    """Draw one plot as SVG: cases as numbered points, the Pareto front as a line."""
    import matplotlib as mpl
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
        axes.set(xlabel=f"{title_of(plot.cost)} (less is better)", ylabel=f"{title_of(plot.gain)} (more is better)")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", frameon=False)
        sink = io.StringIO()
        figure.savefig(sink, format="svg", metadata={"Date": None})
    text = sink.getvalue()
    # Drop the XML prologue, since the drawing is part of the page.
    return text[text.index("<svg") :]


def _plot(rows: Sequence[FlatRow], plot: Plot) -> str:
    """Return a plot with its heading, and the cases on its front by name."""
    named = "".join(
        f"<li>{index + 1}: {html.escape(rows[index]['label'])}</li>" for index in sorted(front_of(rows, plot))
    )
    gains = points_of(rows, plot)[2]
    if len(gains) > 1 and min(gains) == max(gains):
        equal = f"All cases are equal in {title_of(plot.gain)} ({cell(rows[points_of(rows, plot)[0][0]][plot.gain])})"
        named += f"<li>{html.escape(equal)}: the other columns decide.</li>"
    return (
        f"<h2>{html.escape(title_of(plot.gain).capitalize())} against {html.escape(title_of(plot.cost))}</h2>"
        f"{drawing(rows, plot)}"
        + (f'<p class="note">On the front: no case is better in both.</p><ul>{named}</ul>' if named else "")
    )


def _best(rows: Sequence[FlatRow]) -> str:
    lines = "".join(f"<dt>{html.escape(title)}</dt><dd>{html.escape(text)}</dd>" for title, text in best_lines(rows))
    if not lines:
        return ""
    return (
        f"<h2>Best at</h2><dl>{lines}</dl>"
        f'<p class="note">Seconds, memory and closure within {NOISE:.0%} of the best count as equal: each case ran '
        "once. Errors and closure are those of the pairs that a case verified: only cases with half as many as any or "
        "more are compared, and these figures still favour cases that verify easy pairs only.</p>"
    )


def table(rows: Sequence[FlatRow]) -> str:
    """Format the rows as an HTML table; the best values of each column are highlighted."""
    columns = shown_columns(rows)
    head = "".join(f'<th title="{html.escape(column.meaning)}">{html.escape(column.title)}</th>' for column in columns)
    best = [best_of(rows, column) for column in columns]
    lines = [f"<tr><th>#</th><th>case</th>{head}<th></th></tr>"]
    for index, row in enumerate(rows):
        cells = "".join(
            f"<td class='{_BEST[index in top]}'>{html.escape(column.cell(row))}</td>"
            for column, top in zip(columns, best, strict=True)
        )
        kind = "failed" if row["status"] != "ok" else ""
        lines.append(
            f'<tr class="{kind}"><td>{index + 1}</td>'
            f"<td>{html.escape(row['label'])}</td>{cells}<td>{html.escape(row['reason'] or '')}</td></tr>"
        )
    return f"<table>{''.join(lines)}</table>"


def page(sweep: SweepFile, rows: Sequence[FlatRow]) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    sweep
        The sweep.
    rows
        Flat rows, see `s2fast.sweeps.runner.columns`.
    """
    last: dict[str, Any] = dict(rows[-1]) if rows else {}
    facts = [
        f"{len(rows)} cases, {sum(row['status'] != 'ok' for row in rows)} failed",
        f"{last.get('counts.scenes') or '?'} scenes, {last.get('counts.pairs') or '?'} pairs",
        f"{last.get('environment.machine', '')}, {last.get('environment.cores', '')} cores",
        f"commit {str(last['commit'])[:12]}{' with changes' if last.get('dirty') else ''}"
        if last.get("commit")
        else f"s2fast {last.get('version', '')}",
    ]
    meanings = "".join(
        f"<dt>{html.escape(column.title)}</dt><dd>{html.escape(column.meaning)}</dd>"
        for column in shown_columns(rows)
        if column.meaning
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(sweep.name)}</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE}</style></head><body><h1>Sweep: {html.escape(sweep.name)}</h1>"
        f'<p class="note">{html.escape("; ".join(facts))}. Seconds include every stage that a case needs, computed in '
        "this case or shared with an earlier one.</p>"
        f"{_best(rows)}{''.join(_plot(rows, plot) for plot in sweep.plot)}"
        f'<h2>All cases</h2><p class="note">Shaded: the best of a column.</p>{table(rows)}'
        f"<h2>Columns</h2><dl>{meanings}</dl></body></html>\n"
    )
