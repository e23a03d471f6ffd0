"""`--dry-run`: what a run would do, ask and cost, before a cent is spent. Sends nothing, writes nothing."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qrdistill.base.errors import ConfigError, InputError
from qrdistill.base.ownership import check_ours
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.paths.estimate import PathsPlan, plan_paths
from qrdistill.questions.load import load_questions
from qrdistill.runs.config import Config
from qrdistill.runs.load_config import load_config, placed
from qrdistill.runs.outlook.ahead import look_ahead
from qrdistill.runs.outlook.estimate import CostRow
from qrdistill.runs.outlook.needs import Needs
from qrdistill.runs.pipeline import due, plan
from qrdistill.students.preflight import check_students
from qrdistill.verdicts.checks.contamination import refuse_contaminated
from qrdistill.verdicts.estimate import JudgePlan, plan_judging

_BEFORE_TRAINING = ("load", "generate", "filter", "embed")


@dataclass(frozen=True)
class Plan:
    """All that a dry run tells."""

    run_dir: str
    stages: list[tuple[str, str]]  # stage, done before | to do
    questions: dict[str, int]
    paths: PathsPlan
    judges: list[JudgePlan]
    steps: int  # of training, for that many paths
    training: list[CostRow]
    takes: Needs
    warnings: list[str]
    problems: list[str] = field(default_factory=list[str])  # that a run would stop with, before it buys anything

    def as_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(dataclasses.asdict(self), default=str))

    def text(self) -> str:
        lines = [f"run directory  {self.run_dir}", "", "stages"]
        lines += [f"  {name:<12} {state}" for name, state in self.stages]
        lines += [
            "",
            "questions      " + ", ".join(f"{count} {split}" for split, count in self.questions.items()),
        ]
        for name, count in self.paths.ready.items():
            lines.append(f"paths          {name}: {count} ready, at no cost")
        for teacher in self.paths.teachers:
            minutes = _minutes(teacher.minutes, by_limits=not teacher.cached)
            lines.append(
                f"paths          {teacher.name} ({teacher.model}): {teacher.calls} calls to buy, {teacher.cached} cached; "
                f"{teacher.prompt_tokens:,} tokens in ({teacher.prompt_basis}), {teacher.output_tokens:,} out "
                f"({teacher.output_basis}): ${teacher.usd:.2f}, at most ${teacher.usd_at_most:.2f}{minutes}"
            )
        if len(self.paths.teachers) > 1:
            lines.append(f"paths          in all: ${self.paths.usd:.2f}")
        if self.paths.over_budget:
            lines.append(f"budget         {self.paths.over_budget}")
        for judge in self.judges:
            lines.append(
                f"judge          {judge.name} ({judge.model}): at most {judge.calls_at_most} calls, "
                f"${judge.usd:.2f}, at most ${judge.usd_at_most:.2f}"
            )
        lines += ["", f"training, {self.steps} steps, tokens per student (estimated)"]
        lines += [
            f"  {row.student:<12} trained {row.trained:,}  measured {row.measured:,}  token-equivalents {row.equivalents:,} "
            f"({row.ratio:.2f} of plain routed training)"
            for row in self.training
        ]
        lines += [f"  {line}" for line in self.takes.lines()]
        lines += ["", *(f"warning: {warning}" for warning in self.warnings)] if self.warnings else []
        lines += [f"problem        {problem}" for problem in self.problems]
        return "\n".join(lines)


def _minutes(minutes: float | None, *, by_limits: bool) -> str:
    if minutes is None:
        return ", time unknown: no limit is set and no reply has told how long one takes"
    text = f"{minutes:.0f} minutes" if minutes >= 1 else f"{60 * minutes:.0f} seconds"
    return f", at least {text} by its limits" if by_limits else f", about {text}"


def dry_run(config: Path, run_dir: Path | None, overrides: Sequence[str], *, until: str = "report") -> Plan:
    """Plans a run. Raises what the run would raise for a config that cannot be used."""
    resolved = load_config(config, overrides)
    try:
        folder = run_dir or Path("runs") / resolved.name
        check_ours(folder)
        return _plan(resolved, config.resolve().parent, folder, until)
    except ConfigError as error:
        raise placed(error, config, overrides) from error


def _plan(resolved: Config, base: Path, folder: Path, until: str) -> Plan:
    questions = load_questions(resolved.questions, seed=resolved.seed, base_dir=base)
    refuse_contaminated(questions, resolved.filter)
    check_students(resolved.students, base, hub=False)
    problems = _unreachable(resolved, base) if until not in _BEFORE_TRAINING else []
    with tempfile.TemporaryDirectory() as scratch:
        existing = folder.parent / "replies.sqlite"
        with ReplyCache(existing if existing.exists() else Path(scratch) / "replies.sqlite") as cache:
            paths = plan_paths(
                questions, resolved.teachers, resolved.paths, cache=cache, base_dir=base, seed=resolved.seed
            )
    waiting = due(resolved, folder, until)
    names = [stage.name for stage in plan(resolved, until)]
    done = names.index(waiting[0]) if waiting else len(names)  # what follows a stage that runs may run too
    states = [(name, "done before" if place < done else "to do") for place, name in enumerate(names)]
    train = [question for question in questions if question.split == "train"]
    num_paths = sum(paths.ready.values()) + sum(teacher.calls + teacher.cached for teacher in paths.teachers)
    ahead = look_ahead(resolved, questions, paths, base_dir=base, folder=folder)
    takes = ahead.takes
    if takes.problem and until not in _BEFORE_TRAINING:
        problems.append(takes.problem)
    warning = takes.warning(ahead.steps)
    return Plan(
        run_dir=str(folder),
        stages=states,
        questions={split: sum(question.split == split for question in questions) for split in ("train", "dev", "test")},
        paths=replace(paths, texts=()),
        judges=plan_judging(
            resolved.filter,
            resolved.teachers,
            num_paths=num_paths,
            path_tokens=ahead.path_tokens,
            question=train[len(train) // 2].question if train else "",
        ),
        steps=ahead.steps,
        training=ahead.costs,
        takes=takes,
        warnings=[warning] if warning else [],
        problems=problems,
    )


def _unreachable(config: Config, base: Path) -> list[str]:
    """What is wrong with students of the hub: with those in folders the plan would have ended."""
    problems: list[str] = []
    for student in config.students:
        try:
            check_students([student], base)
        except InputError as error:
            problems.append(str(error))
    return problems
