"""The commands below `qrdistill styles` and `qrdistill cache`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qrdistill.commands.options import AsJson, CacheFile, ConfigFile, Overrides, Quiet, RunDir, progress_for

cache_app = typer.Typer(help="The reply cache: every reply that was paid for.", no_args_is_help=True)
styles_app = typer.Typer(help="Reasoning styles.", no_args_is_help=True)


@styles_app.command("list", epilog="Example: qrdistill styles list")
def styles_list(as_json: AsJson = False) -> None:
    """The built-in styles: what a teacher is asked for, and a student told."""
    from qrdistill.commands.styles import list_styles

    list_styles(as_json=as_json)


@styles_app.command("search", epilog="Example: qrdistill styles search config.yaml --rounds 2")
def styles_search(
    config: ConfigFile,
    rounds: Annotated[int, typer.Option(help="Rounds of proposals.")] = 1,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Which teacher proposes and writes.  [default: the first that can be asked]", show_default=False
        ),
    ] = None,
    candidates: Annotated[int, typer.Option(help="Proposals a round.")] = 4,
    questions: Annotated[int, typer.Option(help="Training questions that each is tried on.")] = 20,
    run_dir: RunDir = None,
    overrides: Overrides = None,
    quiet: Quiet = False,
) -> None:
    """Let a teacher propose new styles; keep those whose paths pass the filter and differ from the others."""
    from qrdistill.commands.styles import search

    search(
        config,
        run_dir,
        overrides or (),
        rounds=rounds,
        teacher=teacher,
        candidates=candidates,
        questions=questions,
        progress=progress_for(quiet),
    )


@cache_app.command("stats", epilog="Example: qrdistill cache stats runs/replies.sqlite")
def cache_stats(file: CacheFile = Path("runs/replies.sqlite"), as_json: AsJson = False) -> None:
    """How many replies the cache holds, from whom, at what cost."""
    from qrdistill.commands.cache import stats

    stats(file, as_json=as_json)


@cache_app.command("export", epilog="Example: qrdistill cache export runs/replies.sqlite --to replies.jsonl")
def cache_export(
    to: Annotated[Path, typer.Option("--to", help="The JSONL file to write.", show_default=False)],
    file: CacheFile = Path("runs/replies.sqlite"),
) -> None:
    """All replies with their requests, a JSON line each."""
    from qrdistill.commands.cache import export

    export(file, to)


@cache_app.command("prune", epilog="Example: qrdistill cache prune --model old-model")
def cache_prune(
    file: CacheFile = Path("runs/replies.sqlite"),
    model: Annotated[str | None, typer.Option(help="Only replies of this model.", show_default=False)] = None,
    older_than: Annotated[
        float | None, typer.Option("--older-than", help="Only replies older than so many days.", show_default=False)
    ] = None,
    truncated: Annotated[bool, typer.Option("--truncated", help="Only replies that the token limit cut.")] = False,
    batches: Annotated[
        bool, typer.Option("--batches", help="Give open batches up: their requests are asked again.")
    ] = False,
) -> None:
    """Deletes replies: what is deleted must be paid for again."""
    from qrdistill.commands.cache import prune

    prune(file, model=model, older_than=older_than, truncated=truncated, batches=batches)
