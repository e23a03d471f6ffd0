"""The command line: one thin command per verb. Human output on stderr, `--json` on stdout.

Exit codes: 0 done; 1 failed, the same command resumes; 2 the input is wrong; 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from qrdistill import __version__
from qrdistill.base.errors import QRDistillError
from qrdistill.base.stop_signals import interruptible
from qrdistill.commands import way_out
from qrdistill.commands.groups import cache_app, styles_app
from qrdistill.commands.options import AsJson, ConfigFile, Engine, Overrides, Quiet, RunDir, with_engine
from qrdistill.commands.options import progress_for as _progress
from qrdistill.commands.plans import command as plan_command
from qrdistill.training.mesh.launch import check_command, launched, speaks

app = typer.Typer(
    name="qrdistill",
    help="Distil what a strong LLM can reason into small models that anyone can run.",
    epilog="Start with: qrdistill demo   (no key, no weights, no GPU)   or: qrdistill init my-task",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cache_app, name="cache")
app.add_typer(styles_app, name="styles")


def main() -> None:
    """Entry point: every expected failure becomes one message and its exit code."""
    try:
        with interruptible():
            app()
    except QRDistillError as error:
        _complain(str(error), error.exit_code) if speaks(str(error)) else sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code != 130:
            raise
        _complain("interrupted; the same command goes on from here", 130)  # typer has caught the KeyboardInterrupt
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        _complain(
            f"{error.filename or 'the system'}: {error.strerror or error}; mend it and run the same command again",
            1,
        )


def _complain(message: str, code: int) -> None:
    from qrdistill.base.untrusted.clean_text import clean_text
    from qrdistill.base.untrusted.redact import redact

    print(f"qrdistill: {clean_text(redact(message))}", file=sys.stderr)
    sys.exit(code)


def _version(value: bool) -> None:
    if value:
        print(f"qrdistill {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    check_command(context.invoked_subcommand)


# --- runs -----------------------------------------------------------------------------------------


@app.command(epilog="Example: qrdistill demo --run-dir /tmp/demo --seed 1")
def demo(
    run_dir: Annotated[Path, typer.Option("--run-dir", "-d", help="Where the runs live.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Changes questions, paths and training.")] = 0,
    overrides: Overrides = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """The whole method on the embedded default, small: about a minute on two idle cores."""
    from qrdistill.studies.demo import demo as run_demo

    result = run_demo(run_dir, seed=seed, overrides=overrides or (), progress=_progress(quiet))
    if as_json:
        _print_json(result.as_dict())
    else:
        result.print_table()


@app.command(epilog="Example: qrdistill init my-task && qrdistill run my-task/config.yaml --dry-run")
def init(
    name: Annotated[str, typer.Argument(help="The folder to make.", show_default=False)],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="A CSV, JSONL, JSON or Parquet file of yours: its columns are mapped.", show_default=False
        ),
    ] = None,
) -> None:
    """A commented config and sample data to start from, or a config for a table of your own."""
    from qrdistill.commands.starter import write_starter

    files = write_starter(Path(name), source)
    print(f"{name}/: {', '.join(files)}\nnext: qrdistill run {name}/config.yaml --dry-run")


@app.command(epilog="Example: qrdistill run config.yaml --set train.steps=100 --until filter")
def run(
    config: ConfigFile,
    run_dir: RunDir = None,
    overrides: Overrides = None,
    until: Annotated[
        str, typer.Option(help="The last stage to run: load, generate, filter, embed, train, evaluate or report.")
    ] = "report",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Plan only: stages, calls, tokens, dollars.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again where requests for paths or verdicts failed.")
    ] = False,
    engine: Engine = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """All stages; those that are done and unchanged are skipped, so the same command resumes."""
    _run(
        config,
        run_dir,
        with_engine(overrides, engine),
        until,
        as_json,
        quiet,
        dry_run=dry_run,
        retry_failed=retry_failed,
    )


def _stage_command(name: str, stage: str, text: str) -> None:
    @app.command(name, help=text, epilog=f"Example: qrdistill {name} config.yaml")
    def _command(
        config: ConfigFile,
        run_dir: RunDir = None,
        overrides: Overrides = None,
        engine: Engine = None,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        _run(config, run_dir, with_engine(overrides, engine), stage, as_json, quiet)


_stage_command("generate", "generate", "Questions and paths only: what the teachers write.")
_stage_command("filter", "filter", "Up to the filter: which paths are sound.")
_stage_command("train", "train", "Up to the trained, exported students.")
_stage_command("evaluate", "evaluate", "Up to the students' scores.")


@app.command(epilog="Example: qrdistill report runs/demo/learned   or: qrdistill report config.yaml")
def report(
    config: Annotated[
        Path, typer.Argument(help="A run directory, whose page is written anew; or a config file.", show_default=False)
    ],
    run_dir: RunDir = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """The page of a run, from what is there; of a config everything, the page last."""
    if not config.is_dir():
        _run(config, run_dir, overrides, "report", as_json, quiet)
        return
    from qrdistill.runs.pipeline import report_run

    page = report_run(config, progress=_progress(quiet))
    if as_json:
        _print_json({"run": str(config), "report": str(page)})
    else:
        print(f"report: {page}")


def _run(
    config: Path,
    run_dir: Path | None,
    overrides: list[str] | None,
    until: str,
    as_json: bool,
    quiet: bool,
    *,
    dry_run: bool = False,
    retry_failed: bool = False,
) -> None:
    from qrdistill.runs import pipeline

    beside = (launch := launched()) is not None and not launch.first
    if dry_run and beside:
        return
    if dry_run:
        from qrdistill.commands.plans.dryrun import dry_run as plan_run

        plan = plan_run(config, run_dir, overrides or (), until=until)
        print(json.dumps(plan.as_dict(), indent=2) if as_json else plan.text())
        if plan.problems:
            raise typer.Exit(2)
        return
    result = pipeline.run(
        config, run_dir, overrides or (), until=until, retry_failed=retry_failed, progress=_progress(quiet or beside)
    )
    if beside:  # the first process says what came of it
        return
    if as_json:
        from qrdistill.report.helped import helped

        scored = (result.folder / "scores.json").exists()
        outcome = {"helped": helped(result.folder).as_dict(), "scores": result.scores} if scored else {"scores": None}
        _print_json({"run": str(result.folder), "until": until, **outcome})
        return
    if until == "report":
        from qrdistill.commands.show import print_scores

        print_scores(result.folder)
        print(f"report: {result.folder / 'report.html'}")


def _print_json(value: Any) -> None:
    print(json.dumps(value, default=str))


way_out.add_to(app)
plan_command.add_to(app)


# --- reading runs ---------------------------------------------------------------------------------


@app.command(epilog="Example: qrdistill show runs/demo/learned paths --where style=program --where outcome=drop")
def show(
    run_dir: Annotated[Path, typer.Argument(help="A run directory.", show_default=False)],
    what: Annotated[
        str,
        typer.Argument(
            help="questions, paths, verdicts, own_paths, own_verdicts, filter, routing, answers, untrained, failures, "
            "batches or scores"
        ),
    ] = "scores",
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", "-w", help="column=value, repeatable; ~ for 'contains': text~'12 +'.", show_default=False
        ),
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many rows.")] = 20,
    as_json: AsJson = False,
) -> None:
    """What is in a run, with its lineage: from a question to the answers it led to."""
    from qrdistill.commands.show import show as show_rows

    show_rows(run_dir, what, where or (), limit=limit, as_json=as_json)


@app.command(epilog="Example: qrdistill view runs/demo/learned")
def view(
    run_dir: Annotated[Path, typer.Argument(help="A run directory; the run may still go on.", show_default=False)],
    port: Annotated[int, typer.Option(help="Where to listen on 127.0.0.1; 0: a free port.", min=0, max=65535)] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the address in a browser.")] = True,
) -> None:
    """Every question, path, verdict, reader and effect of a run in a browser; ends with Ctrl-C."""
    from qrdistill.commands.view import view as view_run

    view_run(run_dir, port=port, browser=browser)


@app.command(epilog="Example: qrdistill study ablation config.yaml --seeds 5")
def study(
    name: Annotated[
        str,
        typer.Argument(
            help="ablation, recipe, samples, routing, filter, mutual, vote, own_paths, signals, teachers, students or thinking",
            show_default=False,
        ),
    ],
    config: ConfigFile,
    run_dir: RunDir = None,
    seeds: Annotated[
        int, typer.Option(help="Runs per arm; odd seeds use the embedded students' second base checkpoints.")
    ] = 3,
    workers: Annotated[int, typer.Option(help="Runs at a time.")] = 2,
    tune: Annotated[
        bool, typer.Option("--tune", help="Choose learning rate and steps on dev for every arm, baselines too.")
    ] = False,
    arms: Annotated[str, typer.Option(help="Only these arms, separated by commas.", show_default=False)] = "",
    judge_only: Annotated[
        bool, typer.Option("--judge-only", help="Of `filter`: measure its judges on labelled paths, train nothing.")
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", help="With --judge-only: the labelled run.  [default: runs/<name>]", show_default=False
        ),
    ] = None,
    overrides: Overrides = None,
    engine: Engine = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """A grid of resumable runs that share what they have in common, and one page with intervals."""
    from qrdistill.studies import run_study

    if judge_only or labels:
        from qrdistill.commands.label import measure_judges

        wanted = name if judge_only else ""
        measure_judges(wanted, config, run_dir, labels, overrides or (), as_json=as_json, progress=_progress(quiet))
        return
    folder, result = run_study(
        name,
        config,
        run_dir,
        seeds=seeds,
        workers=workers,
        tune=tune,
        arms=[arm.strip() for arm in arms.split(",") if arm.strip()],
        overrides=with_engine(overrides, engine),
        progress=_progress(quiet),
    )
    if as_json:
        _print_json(result.model_dump(mode="json"))
    else:
        print(f"figures: {folder / 'study.json'}\nreport: {folder / 'report.html'}")


@app.command(epilog="Example: qrdistill compare runs/plain runs/routed")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run directories.", show_default=False)],
    html: Annotated[
        Path | None, typer.Option(help="Also write a page: charts, and the questions that changed.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Runs side by side on the questions they share, with paired confidence intervals."""
    from qrdistill.commands.show import compare_runs

    compare_runs(runs, as_json=as_json, html=html)


@app.command(epilog="Example: qrdistill doctor   |   qrdistill doctor config.yaml --json")
def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(help="A config: try its keys, endpoints and students too, at no cost.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """What this machine can run, and why not; of a config, whether it will."""
    from qrdistill.commands.doctor import print_facts

    if not print_facts(config, overrides or (), as_json=as_json):
        raise typer.Exit(1)


@app.command(epilog="Example: qrdistill label runs/demo/learned --paths 50")
def label(
    run_dir: Annotated[Path, typer.Argument(help="A run that has generated its paths.", show_default=False)],
    paths: Annotated[int, typer.Option(help="How many sampled paths to label.")] = 100,
    seed: Annotated[int, typer.Option(help="Which paths are sampled.")] = 0,
    file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Take labels over from a file: path_id (or question_id and text), label, first_wrong_step.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Label paths by hand, one key each, saved as you go: the truth that `study filter` measures against."""
    from qrdistill.commands.label import import_or_ask

    print(import_or_ask(run_dir, file, num_paths=paths, seed=seed))


@app.command()
def schema() -> None:
    """The config's JSON Schema, for editors."""
    from qrdistill.runs.config import Config

    print(json.dumps(Config.model_json_schema(), indent=2))
