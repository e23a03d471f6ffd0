"""`qrdistill plan`: what the documentation prints is what it says; what cannot fit is refused."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qrdistill.cli import app

ROOT = Path(__file__).parents[3]
BLOCKS = re.findall(
    r"```\n\$ qrdistill (plan [^\n]+)\n(.*?)```", (ROOT / "docs/scaling.md").read_text("utf-8"), re.DOTALL
)


@pytest.mark.parametrize(("command", "printed"), BLOCKS, ids=[command.split("/")[-1][:12] for command, _ in BLOCKS])
def test_the_documentation_prints_what_the_command_prints(
    command: str, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, shlex.split(command))
    assert result.exit_code == (2 if "does not fit" in printed else 0)
    assert result.stdout == printed


def test_there_are_four_worked_examples() -> None:
    assert len(BLOCKS) == 4


def test_what_is_not_known_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from qrdistill.base.errors import InputError

    monkeypatch.chdir(ROOT)
    plan = ["plan", "examples/plans/two-7b-one-gpu.yaml"]
    result = CliRunner().invoke(app, plan)
    assert isinstance(result.exception, InputError)
    assert "--model-config s1=FILE" in str(result.exception)
    result = CliRunner().invoke(app, [*plan, "--gpu", "abacus"])
    assert "known are a100-40" in str(result.exception)
