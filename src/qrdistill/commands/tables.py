"""Tables on a screen cut no word; elsewhere they are TSV, one line a row, for other programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from qrdistill.base.untrusted.clean_text import clean_text

_GAP = 3  # what a column costs beside its text: a blank on each side and a line
_LONGEST_WORD = 40  # a longer one (a path, an id) may be broken


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """On a terminal: a table as wide as it, or where its words do not fit, a block of lines per row. Otherwise TSV.

    Cells are cleaned here and are never markup. The title is not part of the TSV.
    """
    cells = [[clean_text(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in [list(columns), *cells]:
            print("\t".join(_one_line(cell) for cell in row))
        return
    console = Console()
    if title:
        console.print(Text(clean_text(title), style="italic"))
    texts = list(zip(columns, *cells, strict=True))
    least = [max(map(_longest_word, column)) for column in texts]
    spare = console.width - sum(least) - _GAP * len(columns) - 1
    if spare < 0:
        _blocks(console, columns, cells)
        return
    table = Table()
    wished = [max(map(_longest_line, column)) - width for column, width in zip(texts, least, strict=True)]
    given = min(1.0, spare / max(1, sum(wished)))  # of what would put every cell on one line
    for name, width, more in zip(columns, least, wished, strict=True):
        table.add_column(name, width=width + int(given * more), overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _blocks(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Each row as lines of `name  value`, the value wrapped at its words."""
    width = max(map(len, columns))
    for row in rows:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(min_width=width, no_wrap=True)
        table.add_column(overflow="fold")
        for name, cell in zip(columns, row, strict=True):
            if cell:
                table.add_row(Text(name, style="dim"), Text(cell))
        console.print(table)
        console.print()


def _longest_word(text: str) -> int:
    return min(_LONGEST_WORD, max(map(len, text.split()), default=1))


def _longest_line(text: str) -> int:
    return max(map(len, text.splitlines()), default=1)


def _one_line(cell: str) -> str:
    r"""Line ends and tabs as \n and \t, so that a row stays a line."""
    return cell.replace("\\", "\\\\").replace("\t", "\\t").replace("\r", "").replace("\n", "\\n")
