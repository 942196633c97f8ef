"""A sweep's table for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from s2fast.files.legible import legible
from s2fast.sweeps.columns import FlatRow, best_lines, front_of, plots_of, shown_columns
from s2fast.sweeps.grid import SweepFile

_GAP = 2
"""Spaces between two columns."""


def terminal_table(sweep: SweepFile, rows: Sequence[FlatRow], width: int | None = None) -> str:
    """Format rows as text, a star at those on the first plot's Pareto front, and below what the cases are best at.

    Parameters
    ----------
    sweep, rows
        The sweep and its flat rows.
    width
        Characters per line of the terminal: a wider table is cut into several, one below the other, and what the cases
        are is listed first. None: one table, however wide.
    """
    plots = plots_of(rows, sweep.plot)
    front, columns = set(front_of(rows, plots[0])) if plots else set(), shown_columns(rows)
    numbers = ["#", *(str(index + 1) for index in range(len(rows)))]
    labels = ["case", *(legible(row["label"]) for row in rows)]
    figures = [[column.brief, *(column.cell(row) for row in rows)] for column in columns]
    notes = ["", *(legible(row["reason"]) or ("* front" if index in front else "") for index, row in enumerate(rows))]
    text = _lined([numbers, labels, *figures, notes], left=(1, len(figures) + 2))
    narrow = width is not None and max(map(len, text)) > width
    if width is not None and narrow:
        text = [*_listed(numbers, labels, notes, width), *_parts(numbers, figures, width)]
    if best := best_lines(rows, brief=narrow):
        text += ["", "best at", *_best(best, width)]
    return "\n".join(text)


def _lined(columns: Sequence[Sequence[str]], left: Sequence[int] = ()) -> list[str]:
    """Return lines of aligned columns: those `left` flush left, which are words, the others flush right."""
    widths = [max(map(len, column)) for column in columns]
    formats = [f"{{:{'<' if at in left else '>'}{width}}}" for at, width in enumerate(widths)]
    return [(" " * _GAP).join(map(str.format, formats, line)).rstrip() for line in zip(*columns, strict=True)]


def _listed(numbers: Sequence[str], labels: Sequence[str], notes: Sequence[str], width: int) -> list[str]:
    """Return the cases by number, each with its note, on as many lines as it needs."""
    side = max(map(len, numbers))
    found: list[str] = []
    for number, label, note in zip(numbers, labels, notes, strict=True):
        text = f"{number:>{side}}  {label}{f'  {note}' if note else ''}"
        found += textwrap.wrap(text, width, subsequent_indent=" " * (side + _GAP), drop_whitespace=True) or [text]
    return found


def _parts(numbers: Sequence[str], figures: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return the columns as tables of at most this width, each with the cases' numbers."""
    parts: list[list[Sequence[str]]] = [[]]
    used = start = max(map(len, numbers))
    for column in figures:
        wide = _GAP + max(map(len, column))
        if parts[-1] and used + wide > width:
            parts.append([])
            used = start
        parts[-1].append(column)
        used += wide
    return [line for part in parts for line in ("", *_lined([numbers, *part]))]


def _best(best: Sequence[tuple[str, str]], width: int | None) -> list[str]:
    side = max(len(title) for title, _ in best)
    lines = [f"  {title:{side}}  {told}" for title, told in best]
    if width is None or max(map(len, lines)) <= width:
        return lines
    # Under each other, where there is no room beside each other.
    return [
        line
        for title, told in best
        for line in textwrap.wrap(f"{title}: {told}", width, initial_indent="  ", subsequent_indent="    ")
    ]
