"""The plan: which stages a config has, in order, and what each reads, writes and depends on.

With `own_paths.rounds: N` the stages from `generate` to `train` are repeated: the same functions, other tables
(`rounds/<round>/`), which `gather` puts together in the run directory at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qrdistill.runs import work
from qrdistill.runs.config import Config
from qrdistill.runs.context import Context
from qrdistill.runs.declared_keys import EVERYTHING
from qrdistill.students.engines.config import ServerEngine

GROUPS = ("load", "generate", "filter", "embed", "train", "evaluate", "report")
_TABLES = ("questions.parquet", "paths.parquet", "verdicts.parquet")
_TRAINED = ("assignments.parquet", "metrics.jsonl", "students")
_OWN = ("own_paths.parquet", "own_verdicts.parquet")
_STYLES = "styles.json"
_HELD = ("router.kind", "router.styles")
_AGAIN = ("own_paths.ask_teachers",)


# what the untrained student depends on
_AS_IT_CAME = ("name", "model", "quantize", "frozen", "dtype", "trust_remote_code", "max_context")

# what loading a student that was trained before asks of its config
_LOADED = ("name", "lora", "quantize", "frozen", "dtype", "trust_remote_code", "max_context")


@dataclass(frozen=True)
class Stage:
    """One step of the plan. `reads` are config keys (see `declared_keys`), `inputs` files that must exist."""

    name: str
    group: str  # what `--until` and the single-stage commands name
    reads: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    run: Callable[[Context], Mapping[str, Any]]
    round: int = 0
    place: str = ""  # the folder of its tables, within the run directory
    resumes: bool = False  # keeps checkpoints in `place`
    check: Callable[[Context], None] | None = None  # of the whole config, before the stage is paid for
    asks: bool = False  # may send requests: it stays with the process beside the reply cache


def stages(config: Config) -> list[Stage]:
    """All stages of a config, in order."""
    rounds = range(1, config.own_paths.rounds + 1)
    plan = [
        Stage("load", "load", ("seed", "questions"), (), _TABLES[:1], work.load, asks=True),
        _generate(config, 0),
        _filter(config, 0),
        *([_embed(0)] if work.embeds(config) else []),
        _train(config, 0),
    ]
    for round in rounds:
        if config.own_paths.ask_teachers:
            plan.append(_generate(config, round))
        plan += [_sample(config, round), _filter(config, round)]
        if config.own_paths.ask_teachers and work.embeds(config):
            plan.append(_embed(round))
        plan.append(_train(config, round))
    if rounds:
        parts = tuple(place_of(round) + name for round in (0, *rounds) for name in (*_TRAINED, _STYLES))
        tables = tuple(file for round in rounds for file in _pool(config, round))
        plan.append(
            Stage(
                "gather",
                "train",
                ("own_paths.rounds", *_AGAIN),
                (*parts, *tables),
                (*_TRAINED, _STYLES, *_OWN),
                work.gather,
            )
        )
    return [*plan, *_evaluation(config), _report(bool(rounds))]


def place_of(round: int) -> str:
    return f"rounds/{round}/"


def _pool(config: Config, round: int) -> tuple[str, ...]:
    """The tables of one round's paths and verdicts."""
    if not round:
        return _TABLES[1:]
    asked = (f"{place_of(round)}asked.parquet",) if config.own_paths.ask_teachers else ()
    return (*asked, *(place_of(round) + name for name in _TABLES[1:]))


def _pools(config: Config, round: int) -> tuple[str, ...]:
    """The tables of all rounds before one."""
    return tuple(file for earlier in range(round) for file in _pool(config, earlier))


def _generate(config: Config, round: int) -> Stage:
    reads = ("seed", "teachers", "paths", *(_AGAIN if round else ()))
    written = ("paths.parquet", "failures.parquet", "truth.parquet")
    if not round:
        return Stage("generate", "generate", reads, _TABLES[:1], written, work.generate, check=work.check, asks=True)
    place = place_of(round)
    inputs = (*_TABLES[:1], *_pools(config, round))
    outputs = tuple(place + name for name in ("asked.parquet", *written[1:]))
    return Stage(f"generate@{round}", "train", reads, inputs, outputs, work.generate, round, place, asks=True)


def _filter(config: Config, round: int) -> Stage:
    reads, asks = ("seed", "filter", *_judging(config)), bool(config.filter.judges)
    if not round:
        return Stage("filter", "filter", reads, _TABLES[:2], _TABLES[2:], work.filter, asks=asks)
    *paths, verdicts = _pool(config, round)
    reads = (*reads, *_AGAIN, "own_paths.gold", "own_paths.min_agreement")
    inputs = ("questions.parquet", *_pools(config, round), *paths)
    place = place_of(round)
    return Stage(f"filter@{round}", "train", reads, inputs, (verdicts,), work.filter, round, place, asks=asks)


def _judging(config: Config) -> tuple[str, ...]:
    """The keys of the teachers that judge; of the others only who they are."""
    named = [*config.filter.judges, config.filter.escalate_to]
    judging = [index for index, teacher in enumerate(config.teachers) if teacher.name in named]
    return ("teachers.*.name", "teachers.*.kind", *(f"teachers.{index}" for index in judging))


def _embed(round: int) -> Stage:
    place = place_of(round) if round else ""
    tables = (
        ("paths.parquet", "verdicts.parquet") if not round else (f"{place}asked.parquet", f"{place}verdicts.parquet")
    )
    name, group = (f"embed@{round}", "train") if round else ("embed", "embed")
    inputs = ("questions.parquet", *tables)
    reads = ("seed", "encoder", *(_AGAIN if round else ()))
    return Stage(name, group, reads, inputs, (f"{place}embeddings.npy",), work.embed, round, place)


def _train(config: Config, round: int) -> Stage:
    own = config.own_paths
    name, place = (f"train@{round}", place_of(round)) if own.rounds else ("train", "")
    reads = ("seed", "students", "router", "mutual", "train", "paths.styles", "own_paths.rounds")
    inputs = ("questions.parquet", *_pools(config, round + 1), *_vectors(config, round))
    if work.asks_dev(config):
        reads = (*reads, "evaluate.max_tokens", "evaluate.stop")
    if own.rounds:
        reads = (*reads, "own_paths.warm_share", "own_paths.restart")
    if round:
        reads = (*reads, "own_paths.peers", "own_paths.ask", *_AGAIN)
        inputs = (*inputs, f"{place_of(round - 1)}students")
        if work.asks_dev(config):
            inputs = (*inputs, place + _STYLES, *(() if own.restart else (f"{place}trials.json",)))
    outputs = tuple(place + file for file in (*_TRAINED, *(() if round else (_STYLES,))))
    return Stage(name, "train", reads, inputs, outputs, work.train, round, place, resumes=True)


def _vectors(config: Config, round: int) -> tuple[str, ...]:
    if not work.embeds(config):
        return ()
    later = range(1, round + 1) if config.own_paths.ask_teachers else ()
    return ("embeddings.npy", *(f"{place_of(r)}embeddings.npy" for r in later))


def _sample(config: Config, round: int) -> Stage:
    place, before = place_of(round), place_of(round - 1)
    own = ("ask", "samples", "temperature", "max_tokens", "engine")
    reads = (
        "seed",
        "paths.styles",
        *(f"students.*.{key}" for key in _LOADED),
        *(f"own_paths.{key}" for key in own),
        "evaluate.max_tokens",
        "evaluate.stop",
        "train.closing_line",
        *_AGAIN,
    )
    earlier = _pools(config, round) if config.own_paths.ask == "gaps" else ()
    if not earlier and None in (config.own_paths.max_tokens, config.evaluate.max_tokens):
        earlier = _pool(config, 0)  # an open limit is as long as they are
    inputs = ("questions.parquet", f"{before}students", before + _STYLES, *earlier)
    asks = isinstance(config.own_paths.engine, ServerEngine)
    written = tuple(place + name for name in ("paths.parquet", "trials.json", _STYLES))
    return Stage(f"sample@{round}", "train", reads, inputs, written, work.sample, round, place, asks=asks)


def _evaluation(config: Config) -> list[Stage]:
    """Answers, and what is made of them: another vote or fallback decodes nothing anew."""
    voters = ("vote", "vote_above", "vote_styles")  # they decide in which styles the scored split is answered
    decoding = ("split", "styles", "free", "samples", "temperature", "max_tokens", "stop", "engine")
    asked = (
        "seed",
        "paths.styles",
        *(f"students.*.{key}" for key in _LOADED),
        "train.closing_line",
        *_HELD,
        *(f"evaluate.{key}" for key in (*decoding, *voters)),
    )
    scored = (*_HELD, *(f"evaluate.{key}" for key in ("split", "fallback", *voters)))
    if config.evaluate.fallback:
        scored = (*scored, "seed", "filter", *_judging(config))
    own = (f"students.*.{key}" for key in _AS_IT_CAME)
    compared = ("base", "split", "styles", "max_tokens", "stop", "engine")
    untrained = (
        "paths.styles",
        "train.steps",
        "train.closing_line",
        *_HELD,
        *own,
        *(f"evaluate.{key}" for key in compared),
    )
    questions, answers, beside = "questions.parquet", "answers.parquet", "untrained.parquet"
    taught = _pool(config, 0) if config.evaluate.max_tokens is None else ()  # an open limit is as long as they are
    served = isinstance(config.evaluate.engine, ServerEngine)
    held = (_STYLES,) if config.router.kind == "best_style" else ()  # the one style that a student has learnt in
    taught = (*taught, *held)
    return [
        Stage("evaluate", "evaluate", asked, (questions, *taught, "students"), (answers,), work.evaluate, asks=served),
        Stage(
            "untrained", "evaluate", untrained, (questions, *taught, answers), (beside,), work.untrained, asks=served
        ),
        Stage(
            "score",
            "evaluate",
            scored,
            (questions, answers, beside, *held),
            ("scores.json",),
            work.score,
            asks=config.evaluate.fallback,
        ),
    ]


def _report(rounds: bool) -> Stage:
    shown = (*_TABLES, *(_OWN if rounds else ()), "assignments.parquet", "scores.json")
    return Stage("report", "report", EVERYTHING, shown, ("report.html",), work.report)
