"""What a table looks like on a terminal of 80 columns, and in a pipe."""

import fcntl
import os
import re
import struct
import sys
import termios
from contextlib import suppress

import pytest

from qrdistill.commands.tables import print_table

COLUMNS = ("student or vote", "style or cost", "prompted style", "free", "n")
ROWS = [
    [
        "mistral before training",
        "chain_of_thought",
        "72.8 (68.2-76.9), 0 cut, 0 unreadable",
        "61.3 (56.4-65.9), 0 cut, 1 unreadable",
        "400",
    ],
    ["log-probability, students", "2 voters, 1.0 decodes", "79.5 (75.3-83.2), 0 unreadable", "", "400"],
]


@pytest.fixture
def terminal(monkeypatch):
    """A real one of 80 columns: what was printed on it, without the codes for bold and colour."""

    def shown(columns, rows, title):
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        with os.fdopen(theirs, "w") as screen, monkeypatch.context() as patch:
            patch.delenv("COLUMNS", raising=False)
            patch.setenv("TERM", "xterm")
            patch.setattr(sys, "stdout", screen)
            print_table(columns, rows, title)
        text = b""
        with (
            suppress(OSError),
            os.fdopen(ours, "rb", buffering=0) as seen,
        ):  # it ends in EIO, with the other side closed
            while block := seen.read(1 << 16):
                text += block
        return re.sub(r"\x1b\[[\d;]*m", "", text.decode()).replace("\r", "")

    return shown


def words(rows):
    return {word for row in rows for cell in row for word in cell.split()}


def test_a_table_cuts_no_word_and_stays_within_the_terminal(terminal):
    shown = terminal(COLUMNS, ROWS, "accuracy")
    assert max(map(len, shown.splitlines())) <= 80
    assert words([COLUMNS, *ROWS]) <= set(shown.replace("│", " ").replace("┃", " ").split())
    assert "┃" in shown


def test_words_that_do_not_fit_beside_each_other_become_lines(terminal):
    ids = [[f"0/train-{n}/a-teacher/chain_of_thought/{n}", "x" * 30, "The answer is 4."] for n in range(2)]
    shown = terminal(("id", "decision", "text"), ids, "paths")
    assert max(map(len, shown.splitlines())) <= 80
    assert words(ids) <= set(shown.split())
    assert "┃" not in shown


def test_a_pipe_gets_one_line_a_row(capsys):
    print_table(("id", "text"), [["p1", "a\tb\nc [bold]"], ["p2", "\x1b[31mred"]], "never seen")
    assert capsys.readouterr().out == "id\ttext\np1\ta\\tb\\nc [bold]\np2\t\ufffd[31mred\n"
