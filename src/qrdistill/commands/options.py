"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from qrdistill.base.progress import Progress

ConfigFile = Annotated[Path, typer.Argument(help="The config file (YAML).", show_default=False)]
RunDir = Annotated[
    Path | None,
    typer.Option("--run-dir", "-d", help="Where the run lives.  [default: runs/<name>]", show_default=False),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Override a key, e.g. --set train.steps=50 (repeatable).", show_default=False),
]
Engine = Annotated[
    Literal["local", "ray"] | None,
    typer.Option("--engine", help="Where the work is done; the same as --set compute.kind=ray.", show_default=False),
]
CacheFile = Annotated[Path, typer.Argument(help="The cache file.")]
ModelConfigs = Annotated[
    list[str] | None,
    typer.Option(
        "--model-config", help="A config.json for all students, or STUDENT=FILE (repeatable).", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one machine-readable result on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def with_engine(overrides: list[str] | None, engine: str | None) -> list[str]:
    """The overrides with the engine as one of them."""
    return [*(overrides or ()), *([f"compute.kind={engine}"] if engine else ())]


def progress_for(quiet: bool) -> Progress:
    """How a command shows what it does."""
    from qrdistill.runs.terminal import terminal_progress

    return terminal_progress(quiet)
