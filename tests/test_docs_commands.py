"""Every command that the documentation shows exists, with the options that it shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import yaml

from qrdistill.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.yaml")),
    *sorted((ROOT / "examples").rglob("*.md")),
    ROOT / "Makefile",
]
CLI: Any = typer.main.get_command(app)
SHOWN = re.compile(r"(?:`|^#?\s*(?:\$ |\$\(BIN\)/|[A-Z_]+=\S+ )*)(qrdistill(?: [^`\n]*)?)", re.MULTILINE)


def shown(text: str) -> Iterator[str]:
    """The commands of a page, without what a shell or a reader adds: pipes, redirections, remarks."""
    text = text.replace("\\\n", " ")
    for found in SHOWN.findall(text):
        yield re.split(r"\s[#|&;<>(]|\s{2,}|\s->", found.split("  ")[0])[0].strip().rstrip(".,:")


def commands(page: Path) -> list[str]:
    text = page.read_text("utf-8")
    if page.suffix == ".md":
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        text = "\n".join([*blocks, *(f"`{inline}`" for inline in re.findall(r"`(qrdistill [^`\n]+)`", text))])
    known = set(CLI.commands)
    lines = (line for line in dict.fromkeys(shown(text)) if len(line.split()) > 1)
    return [line for line in lines if line.split()[1] in known or line.split()[1].islower()]


def complaint(line: str) -> str:
    """What the command line says of it; nothing is run."""
    command, words = CLI, shlex.split(line)[1:]
    context = command.make_context("qrdistill", [], resilient_parsing=True)
    while hasattr(command, "commands"):
        if not words:
            return ""
        name, words = words[0], words[1:]
        if name.startswith("-"):
            return "" if name in ("--help", "--version", "-h") else f"unknown option {name}"
        if name not in command.commands:
            return f"no command {name}"
        command = command.commands[name]
        context = command.make_context(name, [], parent=context, resilient_parsing=True)
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    return ", ".join(f"unknown option {option}" for option in sorted(used - options - {"-h", "--help"}))


def test_the_commands_on_every_page_exist_and_faults_are_seen() -> None:
    found = {line: page.name for page in PAGES for line in commands(page)}
    wrong = {line: (page, said) for line, page in found.items() if (said := complaint(line))}
    assert not wrong, wrong
    assert len(found) > 40
    assert complaint("qrdistill run config.yaml --dry-run") == ""
    assert complaint("qrdistill runn config.yaml") == "no command runn"
    assert complaint("qrdistill run config.yaml --dryrun") == "unknown option --dryrun"


def test_the_workflow_runs_what_the_makefile_has() -> None:
    steps = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for job in steps.values():
        for run in (step["run"] for step in job["steps"] if "run" in step):
            assert (ROOT / run).exists() if "/" in run else run.removeprefix("make ") in targets, run


RUN_WHOLE = ("docs/pipeline.md", "docs/tutorial.md")  # tests/system/test_walkthroughs.py runs all of their blocks
REMARK = re.compile(r"<!-- (not run: .+|run by: (\S+)) -->\n$")


TEXTS = {page: page.read_text("utf-8") for page in PAGES if page.suffix == ".md"}


def test_every_command_block_is_run_or_says_why_not() -> None:
    for page, text in TEXTS.items():
        if str(page.relative_to(ROOT)) in RUN_WHOLE:
            continue
        for block in re.finditer(r"^```(?:sh|bash)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            if not re.search(r"^(?:[A-Z_]+=\S+ )*(qrdistill|python|make|git|pip) ", block[1], re.MULTILINE):
                continue
            remark = REMARK.search(text[: block.start()])
            assert remark, f"{page.name}: no test is named and no reason given for the block {block[1][:60]!r}"
            if remark[2]:
                assert (ROOT / remark[2]).is_file(), f"{page.name} names {remark[2]}, which is not there"


def test_python_on_every_page_is_python() -> None:
    for page, text in TEXTS.items():
        for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            compile(block, page.name, "exec")
