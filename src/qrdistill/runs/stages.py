"""What each stage reads, writes, depends on and does.

`stages(config)` is the whole plan. With `own_paths.rounds: N` the training is a chain of rounds in
`rounds/<r>/`, whose tables are gathered into the run directory at the end.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qrdistill.base.errors import ConfigError, InputError
from qrdistill.base.progress import Aside, Progress
from qrdistill.base.records import Answer, Assignment, Failure, Question, ReasoningPath, Truth, Verdict
from qrdistill.base.store import TableWriter, atomic, read_table, write_json, write_table
from qrdistill.runs.config import Config

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUPS = ("load", "generate", "filter", "embed", "train", "evaluate", "report")
_TABLES = ("questions.parquet", "paths.parquet", "verdicts.parquet")
_TRAINED = ("assignments.parquet", "metrics.jsonl", "students")


@dataclass(frozen=True)
class Context:
    """What a stage's function gets: the config, the run directory and a voice."""

    config: Config
    folder: Path
    progress: Progress
    base_dir: Path = field(default_factory=Path.cwd)

    @property
    def replies(self) -> Path:
        return self.folder.parent / "replies.sqlite"

    def questions(self) -> dict[str, Question]:
        return {row.id: row for row in read_table(self.folder / "questions.parquet", Question)}

    def kept_paths(self, place: str = "") -> list[ReasoningPath]:
        """The paths of a folder of tables that train, in canonical order."""
        verdicts = read_table(self.folder / place / "verdicts.parquet", Verdict)
        kept = {row.path_id for row in verdicts if row.check == "filter" and row.outcome == "keep"}
        return [row for row in read_table(self.folder / place / "paths.parquet", ReasoningPath) if row.id in kept]


@dataclass(frozen=True)
class Stage:
    name: str
    group: str  # what `--until` and the single-stage commands name
    inputs: tuple[str, ...]  # files of the run directory that must exist
    outputs: tuple[str, ...]
    settings: object  # all of the config that the outputs depend on
    run: Callable[[Context], Mapping[str, Any]]
    workplace: str | None = None  # where a resumable stage keeps its checkpoints


def stages(config: Config) -> list[Stage]:
    """All stages of a config, in order."""

    def part(*sections: str) -> object:
        return config.model_dump(mode="json", include={"seed", *sections})

    written = ("paths.parquet", "failures.parquet", "truth.parquet")
    plan = [
        Stage("load", "load", (), _TABLES[:1], part("questions"), _questions),
        Stage("generate", "generate", _TABLES[:1], written, part("teachers", "paths"), _generate),
        Stage("filter", "filter", _TABLES[:2], _TABLES[2:], part("filter", "teachers"), _filter),
    ]
    vectors: tuple[str, ...] = ()
    if _embeds(config):
        vectors = ("embeddings.npy",)
        plan.append(Stage("embed", "embed", _TABLES, vectors, part("encoder"), _embed))
    plan += _training(config, vectors) if config.own_paths.rounds == 0 else _rounds(config, vectors)
    asked, scored = ("questions.parquet", "students"), ("answers.parquet", "scores.json")
    judged = ("filter", "teachers") if config.evaluate.fallback else ()
    plan.append(Stage("evaluate", "evaluate", asked, scored, part("evaluate", "paths", *judged), _evaluate))
    shown = (*_TABLES, "assignments.parquet", "scores.json")
    plan.append(Stage("report", "report", shown, ("report.html",), config.model_dump(mode="json"), _report))
    return plan


def _training(config: Config, vectors: tuple[str, ...]) -> list[Stage]:
    settings = _training_settings(config)
    return [Stage("train", "train", (*_TABLES, *vectors), _TRAINED, settings, _train_round(0, ""), workplace="")]


def _pools(config: Config, round: int) -> list[str]:
    """The folders of tables that tell round `round` which questions to leave out when it samples."""
    return ["", *(f"rounds/{r}/" for r in range(1, round))] if config.own_paths.ask == "gaps" else []


def _rounds(config: Config, vectors: tuple[str, ...]) -> list[Stage]:
    settings = [_training_settings(config), config.own_paths.model_dump(mode="json")]
    checked = [settings, config.filter.model_dump(mode="json")]
    plan: list[Stage] = []
    for round in range(config.own_paths.rounds + 1):
        place, before = f"rounds/{round}/", f"rounds/{round - 1}/"
        pool = (*_TABLES, *vectors)
        if round:
            written = (f"{place}paths.parquet",)
            judged = (f"{place}verdicts.parquet",)
            taught = ("questions.parquet", "verdicts.parquet")
            earlier = [f"{folder}{file}" for folder in _pools(config, round) for file in _TABLES[1:]]
            plan.append(
                Stage(
                    f"sample@{round}",
                    "train",
                    ("questions.parquet", f"{before}students", *earlier),
                    written,
                    settings,
                    _sample(round),
                )
            )
            plan.append(Stage(f"filter@{round}", "train", (*taught, *written), judged, checked, _filter_round(round)))
            own = [f"rounds/{r}/{file}" for r in range(1, round + 1) for file in _TABLES[1:]]
            pool = (*pool, *own, f"{before}students")
        outputs = tuple(place + name for name in _TRAINED)
        plan.append(
            Stage(
                f"train@{round}",
                "train",
                pool,
                outputs,
                settings,
                _train_round(round, place),
                workplace=place,
            )
        )
    parts = tuple(f"rounds/{round}/{name}" for round in range(config.own_paths.rounds + 1) for name in _TRAINED)
    gathered = (*_TRAINED, "own_paths.parquet", "own_verdicts.parquet")
    plan.append(Stage("gather", "train", parts, gathered, config.own_paths.rounds, _gather))
    return plan


def _embeds(config: Config) -> bool:
    """Only a learned router reads embeddings."""
    return config.router.kind == "learned" and config.train.steps > 0


def _training_settings(config: Config) -> object:
    settings = config.model_dump(mode="json", include={"seed", "students", "router", "mutual", "train", "paths"})
    for name in (  # these change nothing that is learned, so a training may go on with other values
        "checkpoint_every",
        "checkpoint_minutes",
        "keep_last",
        "track",
        "device",
        "max_tokens_per_batch",
        "gradient_checkpointing",
    ):
        del settings["train"][name]
    for index, student in enumerate(settings["students"]):
        if student["model"].startswith("lab:"):
            from qrdistill.lab import student_folder

            try:
                student["model"] = str(student_folder(student["model"].removeprefix("lab:")))
            except InputError as error:
                raise ConfigError(str(error), key=f"students.{index}.model") from error
    return settings


# --- questions, paths, filter ---------------------------------------------------------------------


def _questions(context: Context) -> Mapping[str, Any]:
    from qrdistill.questions.load import load_questions

    context.progress.start("load")
    rows = load_questions(context.config.questions, seed=context.config.seed, base_dir=context.base_dir)
    write_table(context.folder / "questions.parquet", Question, rows)
    counts = {split: sum(row.split == split for row in rows) for split in ("train", "dev", "test")}
    context.progress.done(**counts)
    return counts


def _generate(context: Context) -> Mapping[str, Any]:
    from qrdistill.llm.reply_cache import ReplyCache
    from qrdistill.paths.generate import GenerateWriters, generate
    from qrdistill.students.preflight import check_students
    from qrdistill.verdicts.estimate import check_filter

    config, folder = context.config, context.folder
    questions = list(context.questions().values())
    # before anything is bought
    check_filter(config.filter, config.teachers, questions, base_dir=context.base_dir)
    check_students(config.students, context.base_dir)
    with (
        ReplyCache(context.replies) as cache,
        TableWriter(folder / "failures.parquet", Failure) as failures,
        TableWriter(folder / "truth.parquet", Truth) as truth,
        TableWriter(folder / "paths.parquet", ReasoningPath) as paths,
    ):
        spending = generate(
            questions,
            config.teachers,
            config.paths,
            out=GenerateWriters(paths, failures, truth),
            cache=cache,
            base_dir=context.base_dir,
            seed=config.seed,
            progress=context.progress,
        )
    if not paths.count:
        raise InputError(_nothing_written(folder, questions, failures.count))
    return {"paths": paths.count, "failures": failures.count, "spending": _plain(spending)}


def _nothing_written(folder: Path, questions: Iterable[Question], failures: int) -> str:
    if not any(question.split == "train" for question in questions):
        return (
            "there are no train questions, so no paths to write; raise questions.train, or name the split in the data"
        )
    if failures:
        return f"no teacher wrote a path: {failures} requests failed; `qrdistill show {folder} failures` says why"
    return (
        "no teacher has a path for this run's train questions and styles; compare the question ids and styles of "
        f"its file with `qrdistill show {folder} questions`"
    )


def _filter(context: Context) -> Mapping[str, Any]:
    return _filter_into(context, context.questions(), "")


def _filter_into(context: Context, questions: Mapping[str, Question], place: str) -> Mapping[str, Any]:
    from qrdistill.llm.reply_cache import ReplyCache
    from qrdistill.verdicts.filter import filter_paths

    config, folder = context.config, context.folder / place
    with ReplyCache(context.replies) as cache, TableWriter(folder / "verdicts.parquet", Verdict) as out:
        paths = (row for row in read_table(folder / "paths.parquet", ReasoningPath) if row.question_id in questions)
        counts = filter_paths(
            questions,
            paths,
            config.filter,
            teachers=config.teachers,
            out=out,
            cache=cache,
            base_dir=context.base_dir,
            seed=config.seed,
            progress=Aside(context.progress) if place else context.progress,
        )
    if not counts.kept and not place:
        raise InputError(
            f"no path survived the filter ({counts.generated} generated, {counts.dropped} dropped, "
            f"{counts.undecided} undecided); look at `qrdistill show {folder} verdicts` and at the filter section"
        )
    return _plain(counts)


def _embed(context: Context) -> Mapping[str, Any]:
    import numpy as np

    from qrdistill.routing.embed import embed

    vectors = embed(
        context.kept_paths(),
        context.questions(),
        context.config.encoder,
        seed=context.config.seed,
        device=context.config.train.device,
        progress=context.progress,
    )
    with atomic(context.folder / "embeddings.npy") as temporary, temporary.open("wb") as file:
        np.save(file, vectors)
    return {"paths": len(vectors), "dimension": int(vectors.shape[1])}


# --- training -------------------------------------------------------------------------------------


def _train_round(round: int, place: str) -> Callable[[Context], Mapping[str, Any]]:
    def run(context: Context) -> Mapping[str, Any]:
        import numpy as np

        from qrdistill.own_paths.sample import eligibility, steps_of_round
        from qrdistill.paths.styles import resolve_styles
        from qrdistill.training.train import train

        config, folder = context.config, context.folder
        questions = context.questions()
        pool = context.kept_paths()
        vectors: NDArray[np.float32] | None = np.load(folder / "embeddings.npy") if _embeds(config) else None
        allowed: dict[str, frozenset[str]] = {}
        students = list(config.students)
        if round:
            own = [path for r in range(1, round + 1) for path in context.kept_paths(f"rounds/{r}/")]
            own, allowed = eligibility(
                own,
                [student.name for student in students],
                config.own_paths.peers,
                taught=pool if config.own_paths.ask == "gaps" else (),
            )
            pool += own
            if vectors is not None:
                vectors = np.concatenate([vectors, np.zeros((len(own), vectors.shape[1]), np.float32)])
            if not config.own_paths.restart:
                students = _continued(context, round - 1)
        steps = steps_of_round(config.train, config.own_paths, round)
        warmup = config.train.warmup * steps // max(1, config.train.steps)  # each round warms up by its share
        settings = config.train.model_copy(update={"steps": steps, "warmup": warmup})
        result = train(
            questions,
            pool,
            vectors,
            students=students,
            router=config.router,
            mutual=config.mutual,
            config=settings,
            styles=resolve_styles(config.paths.styles),
            folder=folder / place,
            out=folder / place / "students",
            assignments=folder / place / "assignments.parquet",
            base_dir=context.base_dir,
            seed=config.seed if config.train.seed is None else config.train.seed,
            round=round,
            allowed=allowed,
            dev=[row for row in questions.values() if row.split == "dev"],
            progress=context.progress,
        )
        return _plain(result)

    return run


def _continued(context: Context, round: int) -> list[Any]:
    """The students as an earlier round left them; a relative path would be looked for beside the config file."""
    folder = context.folder.absolute() / f"rounds/{round}/students"
    return [student.model_copy(update={"model": str(folder / student.name)}) for student in context.config.students]


def _sample(round: int) -> Callable[[Context], Mapping[str, Any]]:
    def run(context: Context) -> Mapping[str, Any]:
        from qrdistill.own_paths.sample import sample_paths
        from qrdistill.paths.styles import resolve_styles

        config = context.config
        with TableWriter(context.folder / f"rounds/{round}/paths.parquet", ReasoningPath) as out:
            sampled = sample_paths(
                _continued(context, round - 1),
                list(context.questions().values()),
                resolve_styles(config.paths.styles),
                config.own_paths,
                round=round,
                out=out,
                kept=[path for place in _pools(config, round) for path in context.kept_paths(place)],
                base_dir=context.base_dir,
                seed=config.seed,
                batch_size=config.evaluate.batch_size,
                device=config.train.device,
                progress=context.progress,
            )
        return _plain(sampled)

    return run


def _filter_round(round: int) -> Callable[[Context], Mapping[str, Any]]:
    def run(context: Context) -> Mapping[str, Any]:
        from qrdistill.own_paths.sample import agreed_gold

        questions, place = context.questions(), f"rounds/{round}/"
        if context.config.own_paths.gold:
            return _filter_into(context, questions, place)
        taught = {path.question_id for path in context.kept_paths()}
        sampled = read_table(context.folder / place / "paths.parquet", ReasoningPath)
        agreed, facts = agreed_gold(questions, sampled, taught, context.config.own_paths.min_agreement)
        return {**_filter_into(context, agreed, place), "agreement": facts}

    return run


def _gather(context: Context) -> Mapping[str, Any]:
    """The rounds' tables as one, the last round's students as the run's."""
    folder = context.folder
    places = [folder / f"rounds/{round}" for round in range(context.config.own_paths.rounds + 1)]

    def rows(name: str, record: type[Any], places: Iterable[Path]) -> Iterator[Any]:
        for place in places:
            yield from read_table(place / name, record)

    write_table(folder / "assignments.parquet", Assignment, rows("assignments.parquet", Assignment, places))
    write_table(folder / "own_paths.parquet", ReasoningPath, rows("paths.parquet", ReasoningPath, places[1:]))
    write_table(folder / "own_verdicts.parquet", Verdict, rows("verdicts.parquet", Verdict, places[1:]))
    with atomic(folder / "metrics.jsonl") as temporary, temporary.open("w") as file:
        for place in places:
            file.write((place / "metrics.jsonl").read_text())
    with atomic(folder / "students") as temporary:
        shutil.copytree(places[-1] / "students", temporary)
    return {"rounds": len(places) - 1}


# --- evaluation and report ------------------------------------------------------------------------


def _evaluate(context: Context) -> Mapping[str, Any]:
    from qrdistill.llm.reply_cache import ReplyCache
    from qrdistill.paths.styles import resolve_styles
    from qrdistill.scores.evaluate import evaluate
    from qrdistill.scores.score import score
    from qrdistill.verdicts.judges.reader import reader

    config, folder = context.config, context.folder
    questions = context.questions()
    students = {student.name: folder / "students" / student.name for student in config.students}
    with TableWriter(folder / "answers.parquet", Answer) as out:
        evaluate(
            students,
            list(questions.values()),
            config.evaluate,
            styles=resolve_styles(config.paths.styles),
            out=out,
            base_dir=context.base_dir,
            seed=config.seed,
            device=config.train.device,
            progress=context.progress,
        )
    answers = read_table(folder / "answers.parquet", Answer)
    with ReplyCache(context.replies) if config.evaluate.fallback else nullcontext() as cache:
        check = None
        if config.evaluate.fallback:
            check = reader(
                config.filter,
                config.teachers,
                cache=cache,
                base_dir=context.base_dir,
                seed=config.seed,
                progress=Aside(context.progress),
            )
        write_json(folder / "scores.json", score(answers, questions, config.evaluate, check=check))
    return {"answers": out.count}


def _report(context: Context) -> Mapping[str, Any]:
    from qrdistill.report.report import write_report

    write_report(context.folder)
    return {}


def _plain(value: Any) -> dict[str, Any]:
    """A result's fields as JSON-able data."""
    return json.loads(json.dumps(dataclasses.asdict(value), default=str))
