"""Joint training from a pool of paths to exported students: order, journal, checkpoints, warnings.

The step itself is `step.training_step`. Tensor suffixes: N paths of the pool, B paths of one step,
S students, F embedding features.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qrdistill.base import records
from qrdistill.base.draws import seed_of, uniform
from qrdistill.base.errors import InputError, Interrupted, TrainingError
from qrdistill.base.progress import Progress, Silent
from qrdistill.base.records import Assignment, Question
from qrdistill.base.stop_signals import stopping
from qrdistill.base.store import content_hash, write_table
from qrdistill.paths.styles import Style
from qrdistill.routing.config import RouterConfig
from qrdistill.routing.gates import DevAccuracy, Pool
from qrdistill.routing.loss_ledger import Ledger
from qrdistill.routing.rules import make_assigner
from qrdistill.students.best_style import dev_accuracy
from qrdistill.students.config import StudentConfig
from qrdistill.students.export import export_student
from qrdistill.students.loading import load_student
from qrdistill.students.out_of_memory import ran_out
from qrdistill.students.student import Student
from qrdistill.training import checkpoint
from qrdistill.training.config import MutualConfig, TrainConfig
from qrdistill.training.data import Material, Order
from qrdistill.training.hidden_agreement import Mutual
from qrdistill.training.journal import Journal
from qrdistill.training.metrics import assignment_rows, metrics
from qrdistill.training.optimizers import Group, schedule, student_optimizer
from qrdistill.training.router_watch import RouterWatch
from qrdistill.training.step import StepBatch, StepReport, Team, training_step
from qrdistill.training.step_batches import Drawing, pinned, standardised
from qrdistill.training.tracking import tracking

_CLIP = 1.0  # gradient norm of the router and of the mutual parts
_CHANGES_NOTHING = {  # about what is learnt, up to rounding: a training may go on with other values
    "checkpoint_every",
    "checkpoint_minutes",
    "keep_last",
    "track",
    "device",
    "max_tokens_per_batch",
    "gradient_checkpointing",
}
_KEPT_OUT = {
    "too_long": "question and path together exceed its context; raise the student's max_context if its model can",
    "no_targets": "its tokenizer maps the path to no tokens, so there is nothing to learn",
}


@dataclass(frozen=True)
class TrainResult:
    """What training did.

    paths: in the pool. kept_out: paths that some student cannot read, by reason. tokens: per student,
    tokens computed, measurements included. targets: per student, target tokens learnt from. shares: per
    student, its share of the (path, student) pairs that were trained on. best: the step whose weights
    were exported, where dev evaluation chose; None: the last.
    """

    steps: int
    students: dict[str, str]  # name -> exported folder
    paths: int = 0
    kept_out: dict[str, int] = field(default_factory=dict[str, int])
    tokens: dict[str, int] = field(default_factory=dict[str, int])
    targets: dict[str, int] = field(default_factory=dict[str, int])
    shares: dict[str, float] = field(default_factory=dict[str, float])
    best: int | None = None
    warnings: list[str] = field(default_factory=list[str])
    seconds: float = 0.0


@dataclass
class _State:
    """What the loop itself must remember across a kill."""

    step: int = 0  # finished steps
    tokens: list[int] = field(default_factory=list[int])
    targets: list[int] = field(default_factory=list[int])
    chosen: list[int] = field(default_factory=list[int])
    warnings: list[str] = field(default_factory=list[str])
    best: int | None = None
    best_accuracy: float = -1.0
    worse: int = 0  # dev evaluations in a row without a better one
    stopped: bool = False
    seconds: float = 0.0


def train(
    questions: Mapping[str, Question],
    paths: Sequence[records.ReasoningPath],
    embeddings: NDArray[np.float32] | None,
    *,
    students: Sequence[StudentConfig],
    router: RouterConfig,
    mutual: MutualConfig,
    config: TrainConfig,
    styles: Mapping[str, Style],
    folder: Path,
    out: Path,
    assignments: Path,
    base_dir: Path,
    seed: int,
    round: int = 0,
    allowed: Mapping[str, frozenset[str]] | None = None,
    dev: Sequence[Question] = (),
    progress: Progress | None = None,
) -> TrainResult:
    """Trains the students together on the pool and exports them.

    Goes on by itself from `folder`/checkpoints; on a CPU the result is bitwise that of an
    undisturbed run. Students are handled in the order of their names, so the order they are listed
    in changes nothing. With `config.steps` 0 the base students are exported as they are.

    embeddings: one row per path (only a learned router reads them). folder: gets checkpoints/,
    metrics.jsonl and assignments/. out: gets one model folder per student. assignments: the final
    table. allowed: path id -> the students that this path trains, for paths that are not shared out.

    Raises InputError (nothing to train on), TrainingError (a loss that is not finite, memory),
    Interrupted (after SIGINT or SIGTERM; a checkpoint was saved).
    """
    progress, allowed = progress or Silent(), allowed or {}
    students = sorted(students, key=lambda student: student.name)
    seed = seed_of(seed, "train", round)
    loaded = [
        load_student(
            student,
            base_dir=base_dir,
            device=config.device,
            autocast=config.autocast,
            compile=config.compile,
            gradient_checkpointing=config.gradient_checkpointing,
            seed=seed_of(seed, "adapters", student.name) >> 1,
            progress=progress,
        )
        for student in students
    ]
    if config.steps == 0:
        write_table(assignments, Assignment, [])
        return TrainResult(0, _export(loaded, out))

    material = Material(questions, paths, loaded, styles)
    team = assemble(material, embeddings, router, mutual, config, dev, styles, seed)
    fingerprint = content_hash(
        [
            config.model_dump(mode="json", exclude=_CHANGES_NOTHING),
            [student.model_dump(mode="json") for student in students],
            router.model_dump(mode="json"),
            mutual.model_dump(mode="json"),
            list(styles),
            seed,
            [[path.id, path.text] for path in paths],
            {name: sorted(own) for name, own in allowed.items()},
            "" if embeddings is None else hashlib.blake2b(embeddings.tobytes()).hexdigest(),
        ]
    )
    names = [student.name for student in loaded]
    watch = RouterWatch(names, window=min(20, config.steps))
    state = _State(tokens=[0] * len(names), targets=[0] * len(names), chosen=[0] * len(names))
    found = checkpoint.latest(folder / "checkpoints", fingerprint, progress.warn)
    if found is None:
        team.assigner.prepare(team.ledger)
    else:
        checkpoint.restore(*found, team)
        state = _State(**found[1]["loop"])
        watch.load_state(found[1]["watch"])
        progress.log(f"going on from step {state.step} of {config.steps}")

    pinned_NS = pinned(material, allowed)
    eligible_N = team.assigner.eligible_N() | pinned_NS.any(1).numpy()
    rows = [row for row in range(len(material.paths)) if eligible_N[row]]
    order = Order(
        rows,
        [material.paths[row].question_id for row in rows],
        size=config.paths_per_step,
        seed=seed,
        by=config.order,
    )
    drawing = Drawing(
        material,
        order,
        standardised(embeddings, material.rows),
        pinned_NS,
        team.ledger,
        config=config,
        mutual=mutual if team.mutual else None,
        seed=seed,
    )

    def warn(message: str | None) -> None:
        if message and message not in state.warnings:
            state.warnings.append(message)
            progress.warn(message)

    def save(journal: Journal) -> None:
        facts = {
            "journal": journal.checkpoint(state.step),
            "step": state.step,
            "fingerprint": fingerprint,
            "loop": asdict(state),
            "watch": watch.state(),
        }
        checkpoint.save(folder / "checkpoints", team, facts, keep_last=config.keep_last)

    for reason, count in sorted(material.kept_out.items()):
        why = _KEPT_OUT.get(reason.rpartition(": ")[2], "no text")
        warn(f"{count} of {len(paths)} paths kept out of training ({reason}: {why})")
    progress.start("train", config.steps)
    progress.advance(state.step)
    saved = time.monotonic()
    with (
        Journal(folder, step=state.step) as journal,
        tracking(config.track, folder) as track,
        stopping() as stop,
    ):
        while state.step < config.steps and not state.stopped:
            began, step = time.monotonic(), state.step
            batch = drawing.batch(step)
            report = _guarded(batch, team, schedule(config, step))
            state.step += 1
            _count(state, report)
            if team.learned:
                warn(watch.observe(state.step, report.gates.soft_BS))
            line = metrics(report, team, step=step, round=round, factor=schedule(config, step))
            if config.eval_every and dev and state.step % config.eval_every == 0:
                line["dev"] = _evaluate(state, team, dev, styles, config, folder, seed)
            seconds = time.monotonic() - began
            state.seconds += seconds
            journal.write({**line, "seconds": seconds}, assignment_rows(report, batch, team, round=round))
            track(line, step)
            rate = f"{sum(report.tokens_S) / seconds:.0f}"
            progress.advance(1, loss=f"{line['loss']:.3f}", **{"tokens/s": rate}, **line["share"])
            due = (time.monotonic() - saved) / 60 >= (config.checkpoint_minutes or float("inf"))
            last = state.step == config.steps or state.stopped
            if last and team.learned:
                warn(watch.closing())
            if last or due or stop.requested or state.step % config.checkpoint_every == 0:
                save(journal)
                saved = time.monotonic()
            if stop.requested and not last:
                raise Interrupted(
                    f"{stop.requested}: training stopped after step {state.step} of {config.steps} and saved; "
                    "run the same command again to go on"
                )
        journal.finish(assignments)

    if state.best is not None:
        checkpoint.restore_weights(folder / "checkpoints" / "best", loaded)
    total = max(1, sum(state.chosen))
    result = TrainResult(
        state.step,
        _export(loaded, out),
        len(material.paths),
        dict(sorted(material.kept_out.items())),
        dict(zip(names, state.tokens, strict=True)),
        dict(zip(names, state.targets, strict=True)),
        {name: count / total for name, count in zip(names, state.chosen, strict=True)},
        state.best,
        state.warnings,
        state.seconds,
    )
    progress.done(steps=state.step, **{name: f"{share:.0%}" for name, share in result.shares.items()})
    return result


def assemble(
    material: Material,
    embeddings: NDArray[np.float32] | None,
    router: RouterConfig,
    mutual: MutualConfig,
    config: TrainConfig,
    dev: Sequence[Question],
    styles: Mapping[str, Style],
    seed: int,
) -> Team:
    """The students' companions: assigner, ledger, mutual parts, and every trainable parameter in one group."""
    students = material.students
    if not material.paths:
        kept_out = ", ".join(f"{count} {reason}" for reason, count in material.kept_out.items()) or "none came in"
        raise InputError(
            f"no path to train on ({kept_out}); loosen the filter, raise max_context, or generate more paths"
        )
    if router.reads_embeddings and embeddings is None:
        raise InputError(f"router.kind {router.kind} needs the paths' embeddings; run the embed stage first")
    names = tuple(student.name for student in students)
    present = sorted({path.style for path in material.paths})

    def measure_dev() -> DevAccuracy:
        if not dev:
            raise InputError(f"router.kind {router.kind} needs dev questions; set questions.dev, or router.styles")
        return dev_accuracy(students, _subset(dev, config, seed), present, styles)

    pool = Pool(
        [path.id for path in material.paths],
        [path.style for path in material.paths],
        names,
        seed,
        lambda: material.measure(max_tokens=config.max_tokens_per_batch, shared_prefix=config.shared_prefix),
        measure_dev,
    )
    assigner = make_assigner(pool, router, 0 if embeddings is None else embeddings.shape[1])
    groups = [
        Group(
            s.name,
            student_optimizer(s.trainable_parameters(), s.config),
            s.config.learning_rate,
            True,
            config.clip,
        )
        for s in students
        if not s.config.frozen
    ]
    if assigner.parameters():
        groups.append(_companion("router", assigner.parameters(), router.learning_rate))
    agree = None
    if mutual.weight > 0 and len(students) > 1:
        sizes = [(student.name, student.hidden_size) for student in students]
        agree = Mutual(sizes, mutual, seed=seed, device=str(students[0].device))
        groups.append(_companion("mutual", list(agree.parameters()), mutual.learning_rate))
    return Team(students, assigner, Ledger(len(material.paths), names), agree, groups, router, config, seed)


def _companion(name: str, parameters: Sequence[torch.nn.Parameter], learning_rate: float) -> Group:
    # the colon keeps the name apart from any student's
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    return Group(f":{name}", optimizer, learning_rate, False, _CLIP)


def _subset(dev: Sequence[Question], config: TrainConfig, seed: int) -> list[Question]:
    lots = sorted((uniform(seed, "dev", question.id), index) for index, question in enumerate(dev))
    return [dev[index] for index in sorted(index for _, index in lots[: config.eval_questions])]


def _guarded(batch: StepBatch, team: Team, factor: float) -> StepReport:
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


def _count(state: _State, report: StepReport) -> None:
    chosen_S = (report.num_targets_BS > 0).sum(0).tolist()
    targets_S = report.num_targets_BS.sum(0).long().tolist()
    state.tokens = [a + b for a, b in zip(state.tokens, report.tokens_S, strict=True)]
    state.targets = [a + b for a, b in zip(state.targets, targets_S, strict=True)]
    state.chosen = [a + b for a, b in zip(state.chosen, chosen_S, strict=True)]


def _evaluate(
    state: _State,
    team: Team,
    dev: Sequence[Question],
    styles: Mapping[str, Style],
    config: TrainConfig,
    folder: Path,
    seed: int,
) -> Any:
    """Dev accuracy now; keeps the best weights (mean over students of each one's best style)."""
    accuracy = dev_accuracy(team.students, _subset(dev, config, seed), list(styles), styles)
    team.assigner.observe(accuracy)
    mean = sum(max(own.values()) for own in accuracy.values()) / len(accuracy)
    if mean > state.best_accuracy:
        state.best, state.best_accuracy, state.worse = state.step, mean, 0
        checkpoint.save_weights(folder / "checkpoints" / "best", team.students)
    else:
        state.worse += 1
        state.stopped = config.patience is not None and state.worse >= config.patience
    return accuracy


def _export(students: Sequence[Student], out: Path) -> dict[str, str]:
    return {student.name: str(export_student(student, out / student.name)) for student in students}
