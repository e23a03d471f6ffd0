"""`study filter --judge-only`: judges measured on a run's labelled paths. Nothing is trained, the run is left as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from qrdistill.base.errors import ConfigError, InputError
from qrdistill.base.ownership import claim
from qrdistill.base.progress import Progress
from qrdistill.base.records import Question, ReasoningPath, Verdict
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.report.study_results import ArmTitle, Cell, Part, Table, estimated
from qrdistill.report.study_words import interval
from qrdistill.runs.config import Config
from qrdistill.runs.load_config import load_config
from qrdistill.runs.run import Run
from qrdistill.scores.statistics import Interval
from qrdistill.studies.filter import CAVEATS, FilterResults, percent
from qrdistill.studies.grid.page import finish
from qrdistill.studies.grid.study import Setup
from qrdistill.studies.measures import filter_reliability as measured
from qrdistill.studies.pages.filter_page import CHECK, check_cells
from qrdistill.verdicts.alarms import judge_alarms
from qrdistill.verdicts.audit.calibration import FILTER, Label
from qrdistill.verdicts.audit.first_wrong_step import found_first_wrong_step
from qrdistill.verdicts.audit.label import read_first_wrong_steps
from qrdistill.verdicts.judges.panel import Panel, seat_panel
from qrdistill.verdicts.open_case import Case

WINDOW = 256  # paths that judges are asked about together
FAMILIES = 12  # at most so many get figures of their own


def judge_only(
    config: Path | str,
    folder: Path | None,
    labelled: Path | None,
    *,
    overrides: Sequence[str] = (),
    progress: Progress,
) -> tuple[Path, FilterResults]:
    """Asks the panel of `filter.judges` about the labelled paths of `labelled` (default: `runs/<name>`), all of them,
    whatever the other checks say. Writes study.json and report.html to `folder` (default: `runs/<name>-judges`).

    Replies go through the run's own cache: a vote that its filter has bought is not bought again.
    Raises ConfigError where no judge is named, InputError where no path is labelled.
    """
    resolved = load_config(config, overrides)
    run = Run(labelled or Path("runs") / resolved.name)
    folder = folder or Path("runs") / f"{resolved.name}-judges"
    if not resolved.filter.judges:
        raise ConfigError("--judge-only measures judges; name one here", key="filter.judges")
    truth = measured.known_truth([run.folder])
    if not truth:
        raise InputError(
            f"{run.folder} has no labelled paths; `qrdistill label {run.folder} --from FILE` imports labels, without "
            "--from it asks for them (another run's: --labels RUN)"
        )
    claim(folder)
    cases = list(_cases(run, truth))
    if not cases:
        raise InputError(f"{run.folder}: its labels are for paths that are not there; label the run as it is now")
    panel = _judged(resolved, run, cases, progress)
    return folder, _results(Setup(resolved, folder, progress, (resolved.seed,)), run, truth, cases, panel)


def _cases(run: Run, truth: Mapping[str, Label]) -> Iterator[Case]:
    questions = {row.id: row for row in run.questions()}
    for path in run.paths():
        if path.id in truth:
            yield Case(questions[path.question_id], path)


def _judged(config: Config, run: Run, cases: Sequence[Case], progress: Progress) -> Panel:
    """Every case with its votes and its closing verdict."""
    with ReplyCache(run.folder.parent / "replies.sqlite") as cache:
        panel = seat_panel(
            config.filter, config.teachers, cache=cache, base_dir=Path.cwd(), seed=config.seed, progress=progress
        )
        assert panel is not None
        progress.start("judge", len(cases))
        for start in range(0, len(cases), WINDOW):
            window = cases[start : start + WINDOW]
            for case, finding in zip(window, panel.run(window), strict=True):
                case.record("judge", finding)
                case.close()
            progress.advance(len(window))
    progress.done()
    return panel


def _results(setup: Setup, run: Run, truth: Mapping[str, Label], cases: Sequence[Case], panel: Panel) -> FilterResults:
    groups: dict[str, list[Case]] = {"all": list(cases)}
    families = sorted({case.question.family for case in cases})
    if 1 < len(families) <= FAMILIES:
        groups |= {name: [case for case in cases if case.question.family == name] for name in families}
    places = read_first_wrong_steps(run.folder)
    texts = {case.path.id: case.path.text for case in cases}
    found = {name: [row for case in group for row in case.verdicts] for name, group in groups.items()}
    labels = [truth[case.path.id] for case in cases]
    asked = "How far can the judges be trusted on paths whose truth is known?"
    result = setup.results(FilterResults, "filter", "Judges", asked).having(
        arms={name: ArmTitle(title=name) for name in groups},
        labelled=len(cases),
        planted={label: labels.count(label) for label in ("sound", "spurious", "wrong")},
        reliability={name: _reliability(rows, truth) for name, rows in found.items()},
        first_wrong_steps={
            name: {
                judge: estimate
                for judge, one in found_first_wrong_step(rows, texts, places).items()
                if (estimate := estimated(Interval(*one)))
            }
            for name, rows in found.items()
        },
        repaired=panel.repaired(),
        thresholds=measured.thresholds(measured.Evidence(found["all"], truth)),
        audits=measured.judge_audits(measured.Evidence(found["all"], truth)),
    )
    return finish(
        setup,
        result,
        [_figures(result), _to_read(cases, truth)],
        findings=_findings(result),
        caveats=[CAVEATS],
        warnings=list(judge_alarms(panel)),
        trained=False,
    )


def _reliability(rows: Sequence[Verdict], truth: Mapping[str, Label]) -> dict[str, measured.CheckFigures]:
    """Judge -> its figures, and the panel's where several sit on it."""
    figures = measured.reliabilities(measured.Evidence(list(rows), truth))
    judges = {name: one for name, one in figures.items() if name.startswith("judge/")}
    return judges if len(judges) == 1 else {**judges, "judge": figures[FILTER]}


def _findings(result: FilterResults) -> list[str]:
    sentences: list[str] = []
    for judge, one in result.reliability["all"].items():
        name = judge.removeprefix("judge/") if "/" in judge else "the panel"
        step = result.first_wrong_steps["all"].get(name)
        sentences.append(
            f"{name}: of the paths it keeps {percent(one.precision)} are sound, of the sound ones it keeps "
            f"{percent(one.recall)}, of the others it stops {percent(one.caught)}; undecided on {one.undecided} of "
            f"{one.n} labelled paths."
            + (f" It names the first wrong step in {percent(step)} of {step.n} paths that have one." if step else "")
        )
    sentences += [
        f"{judge}: {100 * share:.1f} % of its readable replies needed the second reading."
        for judge, share in result.repaired.items()
    ]
    return sentences


def _figures(result: FilterResults) -> Part:
    rows: list[list[Cell]] = [
        [group, checker, *check_cells(one), interval(result.first_wrong_steps[group].get(checker.partition("/")[2]))]
        for group, checkers in result.reliability.items()
        for checker, one in checkers.items()
    ]
    planted = ", ".join(f"{count} {label}" for label, count in result.planted.items())
    return Part(
        title="Against the truth",
        text=[f"The truth is known of {result.labelled} paths: {planted}."],
        tables=[
            Table(
                title="Every judge",
                columns=["questions", "judge", *CHECK, "first wrong step found, %"],
                rows=rows,
                note="Precision: kept paths that are sound. Recall: sound paths that are kept. Caught: the others that "
                "are not kept, the undecided among them. First wrong step: of the paths where its place is known, those "
                "that the judge rejects with a quote that begins there. Wilson 95 % intervals, kappa by bootstrap.",
            )
        ],
    )


def _to_read(cases: Sequence[Case], truth: Mapping[str, Label], *, each: int = 6) -> Part:
    """Paths over which panel and truth differ: the first few of either kind."""
    rows: list[list[Cell]] = []
    for kept in (True, False):
        differ = [
            case
            for case in cases
            if (case.verdicts[-1].outcome == "keep") == kept and (truth[case.path.id] == "sound") != kept
        ]
        rows += [_row(case.question, case.path, case.verdicts[-1], truth[case.path.id]) for case in differ[:each]]
    return Part(
        title="Paths to read",
        text=["Where the judges and the labels differ; either may be wrong."],
        tables=[
            Table(title="Disputed paths", columns=["outcome", "reason", "truth", "question", "gold", "path"], rows=rows)
        ],
    )


def _row(question: Question, path: ReasoningPath, closing: Verdict, label: Label) -> list[Cell]:
    return [closing.outcome, closing.reason, label, question.question, question.gold, path.text[:1200]]
