"""Joint training from a pool of paths to exported students.

The step itself is `step.training_step`; who learns how is put together in `assemble`, what outlives a kill in
`saved.resume`. Tensor suffix: S students.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from qrdistill.base.draws import seed_of
from qrdistill.base.errors import Interrupted, TrainingError
from qrdistill.base.progress import Progress, Silent
from qrdistill.base.records import Assignment
from qrdistill.base.stop_signals import stopping
from qrdistill.base.store import write_table
from qrdistill.routing.gates import DevAccuracy
from qrdistill.students.export import export_student
from qrdistill.students.out_of_memory import ran_out
from qrdistill.students.packing.proof import prove_at_length
from qrdistill.students.student import Student
from qrdistill.training.assemble import assemble, load_students, step_batches
from qrdistill.training.config import TrainConfig
from qrdistill.training.data import Material
from qrdistill.training.dev_questions import DevQuestions
from qrdistill.training.mesh.absent import tell_again
from qrdistill.training.mesh.ranks import Ranks, ranks_for
from qrdistill.training.method import MethodFactory, StepBatch
from qrdistill.training.methods import chosen_methods
from qrdistill.training.optimizers import schedule
from qrdistill.training.plan import TrainData, TrainPlan
from qrdistill.training.pool import Pool
from qrdistill.training.saved import checkpoint
from qrdistill.training.saved.inert import inert, marks
from qrdistill.training.saved.journal import Journal, Unwritten
from qrdistill.training.saved.metrics import assignment_rows, metrics
from qrdistill.training.saved.resume import LoopState, fingerprint, resume, save
from qrdistill.training.saved.tracking import tracking
from qrdistill.training.step import StepReport, Team, training_step

_KEPT_OUT = {
    "too_long": "question and path together exceed its context; raise the student's max_context if its model can",
    "over_limit": "it is longer than train.max_path_tokens",
    "no_targets": "its tokenizer maps the path to no tokens, so there is nothing to learn",
}


@dataclass(frozen=True)
class TrainResult:
    """What training did.

    paths: in the pool. kept_out: paths that some student cannot read, by reason. tokens: per student,
    tokens computed, measurements included. targets: per student, target tokens learnt from. shares: per
    student, its share of the (path, student) pairs that were trained on. styles: the style that dev questions
    chose for each student, where the router asked for one. best: the step whose weights
    were exported, where dev evaluation chose; None: the last.
    """

    steps: int
    students: dict[str, str]  # name -> exported folder
    paths: int = 0
    kept_out: dict[str, int] = field(default_factory=dict[str, int])
    tokens: dict[str, int] = field(default_factory=dict[str, int])
    targets: dict[str, int] = field(default_factory=dict[str, int])
    shares: dict[str, float] = field(default_factory=dict[str, float])
    styles: dict[str, str] = field(default_factory=dict[str, str])
    best: int | None = None
    warnings: list[str] = field(default_factory=list[str])
    seconds: float = 0.0


def train(
    data: TrainData,
    plan: TrainPlan,
    folder: Path,
    *,
    base_dir: Path,
    seed: int,
    round: int = 0,
    methods: Sequence[MethodFactory | str] | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Trains the students together on the pool and exports them to `folder`/students.

    Goes on by itself from `folder`/checkpoints; on a CPU the result is bitwise that of an
    undisturbed run. Students are handled in the order of their names, so the order they are listed
    in changes nothing. With `plan.train.steps` 0 the base students are exported as they are.

    folder: gets checkpoints/, metrics.jsonl, assignments/ and, at the end, assignments.parquet and one model
    folder per student. methods: how they learn (`method.Method`), also by name; None: those that the plan asks for.

    Raises InputError (nothing to train on), TrainingError (a loss that is not finite, memory),
    Interrupted (after SIGINT or SIGTERM; a checkpoint was saved).
    """
    progress, config, seed = progress or Silent(), plan.train.with_steps(len(data.paths)), seed_of(seed, "train", round)
    plan = replace(plan, students=sorted(plan.students, key=lambda student: student.name), train=config)
    ranks = ranks_for(config, len(plan.students), progress)
    students = load_students(plan, base_dir, seed, progress, ranks)
    if config.num_steps == 0:
        write_table(folder / "assignments.parquet", Assignment, []) if ranks.first else None
        return TrainResult(0, _export(students, folder, ranks))

    material, slower = _material(data, students, config, ranks, folder)
    dev = DevQuestions(data, plan, seed, ranks)
    team = assemble(material, data, plan, chosen_methods(plan, methods), dev, seed)
    checkpoints, mark, untouched = folder / "checkpoints", fingerprint(data, plan, team, material.pool), marks(team)
    state = resume(checkpoints, mark, team, dev, progress)
    batches = step_batches(material, data, plan, team, seed)
    if state.step:
        progress.log(f"going on from step {state.step} of {config.num_steps}")
    for message in (*_left_out(material, len(data.paths)), *material.lost_text(), *slower):
        state.warn(message, progress)

    progress.start("train", config.num_steps)
    progress.advance(state.step)
    written = Journal(folder, step=state.step) if ranks.first else Unwritten()
    with written as journal, tracking(config.track if ranks.first else (), folder) as track, stopping() as stop:
        while not state.finished(config):
            began, step, factor = time.monotonic(), state.step, schedule(plan.whole or config, plan.begun + state.step)
            batch = batches.batch(step)
            report = guarded_step(batch, team, factor)
            state.count(report)
            line = metrics(report, team, step=step, round=round, factor=factor)
            for warning in report.warnings:
                state.warn(warning, progress)
            if dev.due(state.step):
                line["dev"] = _evaluate(dev, team, state, checkpoints)
            seconds = time.monotonic() - began
            state.seconds += seconds
            journal.write({**line, "seconds": seconds}, assignment_rows(report, batch, team, round=round))
            track(line, step)
            rate = {"tokens/s": f"{sum(report.tokens_S) / seconds:.0f}"}
            progress.advance(1, loss=f"{report.loss:.3f}", **rate, **line["share"])

            last, asked = state.finished(config), ranks.any(bool(stop.requested))
            for message in (*inert(untouched, team, material, data, plan, dev), *material.lost_text()) if last else ():
                state.warn(message, progress)
            if last or asked or state.step % config.checkpoint_every == 0:
                save(checkpoints, mark, team, state, journal)
            if asked and not last:
                raise Interrupted(
                    f"{stop.requested or 'another process'}: training stopped after step {state.step} of "
                    f"{config.num_steps} and saved; run the same command again to go on"
                )
        journal.finish(folder / "assignments.parquet")

    if state.best is not None:
        checkpoint.restore_weights(checkpoints / "best", team)
    result = _result(state, material, _export(students, folder, ranks))
    progress.done(steps=state.step, **{name: f"{share:.0%}" for name, share in result.shares.items()})
    return result


def _material(
    data: TrainData, students: list[Student], config: TrainConfig, ranks: Ranks, folder: Path
) -> tuple[Material, list[str]]:
    """The pool, and the students ready to read it, their weights shared out; what is to be warned of."""
    pool = Pool.of(data.paths, data.questions, folder)
    material = Material(
        data.questions,
        pool,
        students,
        data.styles,
        data.embeddings,
        data.token_counts if ranks.first else None,
        config.max_path_tokens,
        ranks,
    )
    own = (s for s in range(len(students)) if ranks.owns(s))
    slower = ranks.everyone({students[s].name: prove_at_length(students[s], material.longest(s)) for s in own})
    tell_again(students, ranks)
    ranks.share(students)
    return material, [message for message in slower.values() if message]


def guarded_step(batch: StepBatch, team: Team, factor: float) -> StepReport:
    """`training_step`, with memory that runs out as a TrainingError that says what to do."""
    try:
        return training_step(batch, team, factor)
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise TrainingError(
            f"step {batch.request.step}: memory ran out with train.max_tokens_per_batch "
            f"{team.config.max_tokens_per_batch}; lower it, or set train.gradient_checkpointing, and run the same "
            "command again: it goes on from the last checkpoint. Where that is not enough, train.autocast or a "
            "student's lora or quantize need less, and start the training anew"
        ) from error


def _left_out(material: Material, given: int) -> list[str]:
    return [
        f"{count} of {given} paths kept out of training "
        f"({reason}: {_KEPT_OUT.get(reason.rpartition(': ')[2], 'no text')})"
        for reason, count in sorted(material.kept_out.items())
    ]


def _evaluate(dev: DevQuestions, team: Team, state: LoopState, checkpoints: Path) -> DevAccuracy:
    """Dev accuracy now; keeps the best weights (mean over students of each one's best style)."""
    accuracy = dev.accuracy(team.students)
    for method in team.methods:
        method.observe(accuracy)
    if state.better(sum(max(own.values()) for own in accuracy.values()) / len(accuracy), team.config.patience):
        checkpoint.save_weights(checkpoints / "best", team)
    return accuracy


def _export(students: Sequence[Student], folder: Path, ranks: Ranks) -> dict[str, str]:
    ranks.whole(students)
    places = {student.name: folder / "students" / student.name for student in students}
    for s, student in enumerate(students):
        if ranks.exports(s):
            export_student(student, places[student.name])
    ranks.wait("the exported students")
    return {name: str(place) for name, place in places.items()}


def _result(state: LoopState, material: Material, exported: dict[str, str]) -> TrainResult:
    names, total = [student.name for student in material.students], max(1, sum(state.chosen))
    return TrainResult(
        steps=state.step,
        students=exported,
        paths=len(material.paths),
        kept_out=dict(sorted(material.kept_out.items())),
        tokens=dict(zip(names, state.tokens, strict=True)),
        targets=dict(zip(names, state.targets, strict=True)),
        shares={name: count / total for name, count in zip(names, state.chosen, strict=True)},
        styles=state.styles,
        best=state.best,
        warnings=state.warnings,
        seconds=state.seconds,
    )
