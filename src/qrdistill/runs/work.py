"""What each stage does: the run directory's tables in, the verb of the stage's folder, tables out.

A function serves round 0 and every later one; `context.round` and `context.place` tell which.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qrdistill.base.errors import InputError
from qrdistill.base.progress import Aside
from qrdistill.base.records import Answer, Assignment, Failure, Question, ReasoningPath, Truth, Verdict
from qrdistill.base.store import TableWriter, atomic, read_table, write_json, write_table
from qrdistill.runs.config import Config
from qrdistill.runs.context import Context
from qrdistill.runs.limits import answer_limit, path_limit, train_config, whole_training

if TYPE_CHECKING:
    from qrdistill.students.config import StudentConfig

Counts = Mapping[str, Any]


def embeds(config: Config) -> bool:
    return config.router.reads_embeddings and config.train.steps != 0


def asks_dev(config: Config) -> bool:
    """Whether training has dev questions answered: by a rule, a router of a user's own, or on the way."""
    unasked = ("learned", "random", "style", "fixed_loss", "all", "balanced")
    return config.router.kind not in unasked or config.train.eval_every is not None


def load(context: Context) -> Counts:
    from qrdistill.questions.load import load_questions

    context.progress.start("load")
    rows = load_questions(context.config.questions, seed=context.config.seed, base_dir=context.base_dir)
    write_table(context.out / "questions.parquet", Question, rows)
    counts = {split: sum(row.split == split for row in rows) for split in ("train", "dev", "test")}
    context.progress.done(**counts)
    return counts


def check(context: Context) -> None:
    """Raises now what later stages would raise after the paths have been bought."""
    from qrdistill.runs.outlook.ahead import check_room
    from qrdistill.students.engines.preflight import check_engine
    from qrdistill.students.preflight import check_students
    from qrdistill.verdicts.estimate import check_filter

    config = context.config
    check_engine(config.evaluate.engine, "evaluate.engine")
    if config.own_paths.rounds:
        check_engine(config.own_paths.engine, "own_paths.engine")
    for warning in config.own_paths.without_effect():
        context.progress.warn(warning)
    check_filter(config.filter, config.teachers, list(context.questions().values()), base_dir=context.base_dir)
    check_students(config.students, context.base_dir, hub=context.trains)
    if context.trains:
        check_room(context)


def generate(context: Context) -> Counts:
    """Round 0 asks for every train question, later ones for those that still have no path that trains."""
    from qrdistill.llm.reply_cache import ReplyCache
    from qrdistill.paths.generate import GenerateWriters, generate

    config, out, round = context.config, context.out, context.round
    questions, paths = context.questions(), config.paths
    if round:
        solved = {path.question_id for path in context.kept(range(round))}
        questions = {name: question for name, question in questions.items() if name not in solved}
        paths = paths.model_copy(update=_left(context))
    with (
        ReplyCache(context.replies) as cache,
        context.writer("failures.parquet", Failure) as failures,
        context.writer("truth.parquet", Truth) as truth,
        context.writer("asked.parquet" if round else "paths.parquet", ReasoningPath) as written,
    ):
        spending = generate(
            list(questions.values()),
            config.teachers,
            paths,
            out=GenerateWriters(written, failures, truth),
            cache=cache,
            base_dir=context.base_dir,
            seed=config.seed,
            round=round,
            progress=context.progress,
        )
    if not written.count and not round:
        raise InputError(_nothing_written(out, questions.values(), failures.count))
    return {"paths": written.count, "failures": failures.count, "spending": _plain(spending)}


def _left(context: Context) -> dict[str, float | int | None]:
    """What earlier rounds have left of the budget: it is one for all."""
    budget = context.config.paths
    bought = [row for round in range(context.round) for row in context.written(round)]
    usd = sum(path.cost for path in bought)
    tokens = sum(path.prompt_tokens + path.completion_tokens for path in bought)
    return {
        "budget_usd": None if budget.budget_usd is None else max(0.0, budget.budget_usd - usd),
        "budget_tokens": None if budget.budget_tokens is None else max(0, budget.budget_tokens - tokens),
    }


def _nothing_written(folder: Path, questions: Iterable[Question], failures: int) -> str:
    if not any(question.split == "train" for question in questions):
        return "there are no train questions and so no paths; raise questions.train, or name the split in the data"
    if failures:
        return f"no teacher wrote a path: {failures} requests failed; `qrdistill show {folder} failures` says why"
    return (
        "no teacher has a path for this run's train questions and styles; compare the question ids and styles of "
        f"its file with `qrdistill show {folder} questions`"
    )


def filter(context: Context) -> Counts:
    from qrdistill.llm.reply_cache import ReplyCache
    from qrdistill.own_paths.sample import agreed_gold
    from qrdistill.verdicts.filter import filter_paths

    config, round = context.config, context.round
    questions, unsettled, facts = context.questions_by_id(), {}, {}
    if round and not config.own_paths.gold:
        taught = {path.question_id for earlier in range(round) for path in context.taught(earlier)}
        sampled = read_table(context.out / "paths.parquet", ReasoningPath)
        questions, unsettled, agreement = agreed_gold(
            context.questions(), sampled, taught, config.own_paths.min_agreement
        )
        facts = {"agreement": agreement}
    with ReplyCache(context.replies) as cache, context.writer("verdicts.parquet", Verdict) as out:
        counts = filter_paths(
            questions,
            _to_filter(context),
            config.filter,
            teachers=config.teachers,
            unsettled=unsettled,
            out=out,
            cache=cache,
            base_dir=context.base_dir,
            seed=config.seed,
            progress=Aside(context.progress) if round else context.progress,
            workers=context.workers,
        )
    if not counts.kept and not round:
        raise InputError(
            f"no path survived the filter ({counts.generated} generated, {counts.dropped} dropped, "
            f"{counts.undecided} undecided); look at `qrdistill show {context.folder} verdicts` and at the filter section"
        )
    return {**_plain(counts), **facts}


def _to_filter(context: Context) -> Iterator[ReasoningPath]:
    """The round's paths, grouped by question: the teachers' first."""
    if not context.asked_again:
        yield from read_table(context.out / "paths.parquet", ReasoningPath)
        return
    groups: dict[str, list[ReasoningPath]] = defaultdict(list)
    for name in ("asked.parquet", "paths.parquet"):
        for path in read_table(context.out / name, ReasoningPath):
            groups[path.question_id].append(path)
    for name in context.questions_by_id():
        yield from groups[name]


def embed(context: Context) -> Counts:
    from qrdistill.routing.embed import embed, save_vectors

    target = context.out / "embeddings.npy"
    vectors = embed(
        context.taught_texts(),
        context.config.encoder,
        seed=context.config.seed,
        device=context.config.train.device,
        progress=context.progress,
        workers=context.workers,
        beside=target,
    )
    with atomic(target) as temporary, temporary.open("wb") as file:
        paths, dimension = save_vectors(file, vectors)
        if not paths and not context.round:  # in a later round nothing that was asked again may have been kept
            raise InputError("no path is left to embed; loosen the filter (verdicts tell why paths were dropped)")
    return {"paths": paths, "dimension": dimension}


def train(context: Context) -> Counts:
    from qrdistill.own_paths.sample import eligibility, steps_of_round
    from qrdistill.paths.styles import resolve_styles
    from qrdistill.students.best_style import read_trials
    from qrdistill.training.plan import TrainData, TrainPlan
    from qrdistill.training.train import train

    config, round = context.config, context.round
    goes_on = round > 0 and not config.own_paths.restart
    students: list[StudentConfig] = list(config.students)
    own: list[ReasoningPath] = []
    allowed: dict[str, frozenset[str]] = {}
    yields = context.yields(round) if round else []
    for one in yields:
        if not one.teaches:
            context.progress.warn(one.sentence())
    if round:
        own, allowed = eligibility(
            (path for earlier in range(round + 1) for path in context.own(earlier)),
            [student.name for student in students],
            config.own_paths.peers,
            taught=context.all_taught() if config.own_paths.ask == "gaps" else (),
        )
        if goes_on:
            students = context.continued()
    whole = whole_training(context)
    plan = TrainPlan(students, config.router, config.mutual, train_config(context, whole))
    if config.own_paths.rounds and not config.own_paths.restart:  # one curve of the learning rate over all rounds
        begun = sum(steps_of_round(whole, config.own_paths, earlier) for earlier in range(round))
        plan = dataclasses.replace(plan, whole=whole, begun=begun)
    if asks_dev(config):
        limit = answer_limit(context, config.students)
        plan = dataclasses.replace(plan, dev_tokens=limit, dev_stop=config.evaluate.stop)
    result = train(
        TrainData(
            {},
            context.pool(own),
            resolve_styles(config.paths.styles),
            context.vectors(len(own)) if embeds(config) else None,
            allowed,
            list(_asked(config, {row.id: row for row in context.questions_of("dev")}).values()),
            context.folder.parent / "token_counts",
            read_trials(context.out / "trials.json") if goes_on and asks_dev(config) else {},
            context.styles(context.out) if round and asks_dev(config) else {},
        ),
        plan,
        context.out,
        base_dir=context.base_dir,
        seed=config.seed if config.train.seed is None else config.train.seed,
        round=round,
        progress=context.progress,
    )
    if not round:
        named = config.router.styles if config.router.kind == "best_style" else {}
        write_json(context.out / "styles.json", {**named, **result.styles})
    return {**_plain(result), "yields": [{**_plain(one), "teaches": one.teaches} for one in yields]}


def _asked(config: Config, questions: Mapping[str, Question]) -> Mapping[str, Question]:
    """The questions as students read them."""
    from qrdistill.paths.styles import with_closing_line

    return {name: with_closing_line(row) if config.train.closing_line else row for name, row in questions.items()}


def sample(context: Context) -> Counts:
    from qrdistill.own_paths.sample import sample_paths
    from qrdistill.paths.styles import resolve_styles

    config, round = context.config, context.round
    students = context.continued()
    limit = config.own_paths.max_tokens or path_limit(context, students)
    with context.writer("paths.parquet", ReasoningPath) as out:
        sampled = sample_paths(
            students,
            list(_asked(config, context.questions()).values()),
            resolve_styles(config.paths.styles),
            config.own_paths.model_copy(update={"max_tokens": limit}),
            round=round,
            out=out,
            kept=context.kept(range(round)) if config.own_paths.ask == "gaps" else (),
            before=context.styles(context.place_of(round - 1, trained=True)),
            base_dir=context.base_dir,
            seed=config.seed,
            dev_tokens=answer_limit(context, students),
            stop=config.evaluate.stop,
            batch_size=config.evaluate.batch_size,
            device=config.train.device,
            progress=context.progress,
        )
    write_json(context.out / "trials.json", (counts := _plain(sampled)).pop("trials"))
    write_json(context.out / "styles.json", sampled.styles)
    return {**counts, "max_tokens": limit}


def gather(context: Context) -> Counts:
    """The rounds' tables as one, the last round's students as the run's."""
    folder, rounds = context.folder, context.config.own_paths.rounds
    places = [folder / f"rounds/{round}" for round in range(rounds + 1)]

    def rows(name: str, record: type[Any], places: Iterable[Path]) -> Iterator[Any]:
        for place in places:
            yield from read_table(place / name, record)

    write_table(folder / "assignments.parquet", Assignment, rows("assignments.parquet", Assignment, places))
    joined = (path for round in range(1, rounds + 1) for path in context.written(round, own=True))
    write_table(folder / "own_paths.parquet", ReasoningPath, joined)
    write_table(folder / "own_verdicts.parquet", Verdict, rows("verdicts.parquet", Verdict, places[1:]))
    with atomic(folder / "metrics.jsonl") as temporary, temporary.open("w") as file:
        for place in places:
            if (place / "metrics.jsonl").exists():  # a round without a step has none
                file.write((place / "metrics.jsonl").read_text())
    with atomic(folder / "students") as temporary:
        shutil.copytree(places[-1] / "students", temporary)
    write_json(folder / "styles.json", context.styles(places[-1]))
    return {"rounds": rounds}


def evaluate(context: Context) -> Counts:
    from qrdistill.paths.styles import resolve_styles
    from qrdistill.scores.evaluate import evaluate

    config, folder = context.config, context.folder
    students = {student.name: student for student in context.trained(folder)}  # with their own settings
    limit = answer_limit(context, list(students.values()))
    with TableWriter(folder / "answers.parquet", Answer) as out:
        evaluate(
            students,
            list(_asked(config, context.questions()).values()),
            config.evaluate.model_copy(update={"max_tokens": limit}),
            styles=resolve_styles(config.paths.styles),
            held=_held(context),
            out=out,
            base_dir=context.base_dir,
            seed=config.seed,
            device=config.train.device,
            progress=context.progress,
            workers=context.workers,
        )
    return {"answers": out.count, "max_tokens": limit}


def _held(context: Context) -> Mapping[str, str]:
    """The one style that each student has learnt in, where that is so."""
    router = context.config.router
    return {**context.styles(context.folder), **router.styles} if router.kind == "best_style" else {}


def untrained(context: Context) -> Counts:
    """Where no untrained student is asked the table is empty, and the counts say why."""
    from qrdistill.llm.reply_cache import ReplyCache
    from qrdistill.paths.styles import resolve_styles
    from qrdistill.scores.untrained import answer_untrained

    config, folder = context.config, context.folder
    students = [student for student in config.students if not student.frozen]
    with TableWriter(folder / "untrained.parquet", Answer) as out:
        if why_not := _why_not(config, bool(students)):
            return {"answers": 0, "why_not": why_not}
        with ReplyCache(context.replies) as cache:
            answer_untrained(
                students,
                read_table(folder / "answers.parquet", Answer),
                _asked(config, context.questions()),
                config.evaluate.model_copy(update={"max_tokens": answer_limit(context, students)}),
                styles=resolve_styles(config.paths.styles),
                held=_held(context),
                out=out,
                cache=cache,
                base_dir=context.base_dir,
                device=config.train.device,
                progress=context.progress,
            )
    return {"answers": out.count}


def _why_not(config: Config, trains: bool) -> str | None:
    if not config.evaluate.base:
        return "evaluate.base is false, so the untrained students were not asked"
    if not trains:
        return "every student is frozen, so none was trained"
    if config.train.steps == 0:
        return "train.steps is 0, so nothing was trained: these are the untrained students"
    return None


def score(context: Context) -> Counts:
    from qrdistill.llm.reply_cache import ReplyCache
    from qrdistill.scores.score import score
    from qrdistill.training.saved.tracking import track_scores
    from qrdistill.verdicts.judges.reader import reader

    config, folder = context.config, context.folder
    answers = chain.from_iterable(read_table(folder / f"{name}.parquet", Answer) for name in ("answers", "untrained"))
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
        figures = score(answers, context.questions(), config.evaluate, held=_held(context), check=check)
    write_json(folder / "scores.json", figures)
    if config.train.track:
        track_scores(config.train.track, folder, figures)
    return {}


def report(context: Context) -> Counts:
    from qrdistill.report.report import write_report

    write_report(context.folder)
    return {}


def _plain(value: Any) -> dict[str, Any]:
    """A result's fields as JSON-able data."""
    return json.loads(json.dumps(dataclasses.asdict(value), default=str))
