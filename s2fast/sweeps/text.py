"""A sweep's table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from s2fast.sweeps.columns import FlatRow, best_lines, shown_columns
from s2fast.sweeps.grid import SweepFile
from s2fast.sweeps.page import front_of


def terminal_table(sweep: SweepFile, rows: Sequence[FlatRow]) -> str:
    """Format rows as text, a star at those on the first plot's Pareto front, and below what the cases are best at."""
    front, columns = front_of(rows, sweep.plot[0]) if sweep.plot else set(), shown_columns(rows)
    lines = [["#", "case", *(column.brief for column in columns), ""]]
    for index, row in enumerate(rows):
        note = row["reason"] or ("* front" if index in front else "")
        lines.append([str(index + 1), row["label"], *(column.cell(row) for column in columns), note])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # Words are flush left, numbers flush right.
    sides = ["<" if at in (1, len(widths) - 1) else ">" for at in range(len(widths))]
    formats = [f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True)]
    text = ["  ".join(map(str.format, formats, line)).rstrip() for line in lines]
    if best := best_lines(rows):
        width = max(len(title) for title, _ in best)
        text += ["", "best at", *(f"  {title:{width}}  {told}" for title, told in best)]
    return "\n".join(text)
