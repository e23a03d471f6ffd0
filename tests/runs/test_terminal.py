"""Whatever a server, a file or a model says, it steers no terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from qrdistill import cli
from qrdistill.base.errors import TeacherError
from qrdistill.base.progress import Progress
from qrdistill.commands.show import clean, show
from qrdistill.runs.terminal import Live, Plain

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b2J\u202egnp.exe\r[red]red[/red] [/]\x00\x7f" + "x" * 5000


def unharmed(output: str) -> None:
    assert "\x1b]" not in output
    assert "\x1b[2J" not in output
    for letter in "\x07\x9b\u202e\x00\x7f":
        assert letter not in output
    assert "x" * 3000 not in output.replace("\n", "")


def plain(stream: io.StringIO) -> Progress:
    return Plain(stream, pause=-1)


def live(stream: io.StringIO) -> Progress:
    return Live(Console(file=stream, force_terminal=True, width=20_000))


@pytest.mark.parametrize("make", [plain, live])
def test_no_progress_passes_on_what_a_terminal_obeys(make: Callable[[io.StringIO], Progress]):
    stream = io.StringIO()
    progress = make(stream)
    progress.start(HOSTILE, 10)
    progress.advance(1, server=HOSTILE)
    progress.log(HOSTILE)
    progress.warn(HOSTILE)
    progress.done(server=HOSTILE)
    unharmed(stream.getvalue())
    assert stream.getvalue().count("[red]red[/red] [/]") >= 3, "shown as it is, never as markup"


def test_the_last_message_of_a_command_is_cleaned(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def fails() -> None:
        raise TeacherError(f"teacher 'x' refuses: {HOSTILE}")

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    error = capsys.readouterr().err
    unharmed(error)
    assert error.startswith("qrdistill: teacher 'x' refuses: \ufffd]0;owned\ufffd")


def test_tables_and_raw_scores_are_cleaned(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    unharmed(clean(HOSTILE))
    row = {"student": HOSTILE[:40], "style": HOSTILE[:40], "styled": None, "free": None}
    scores = {"split": HOSTILE[:40], "headlines": [row], "ensembles": []}
    (tmp_path / "scores.json").write_text(json.dumps(scores, ensure_ascii=False), encoding="utf-8")
    for as_json in (False, True):
        show(tmp_path, "scores", (), as_json=as_json)
        unharmed(capsys.readouterr().out)
