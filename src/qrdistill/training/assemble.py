"""Puts together who learns: the students, the methods with what trains beside them, the ledger.

Tensor suffixes: N paths of the pool, S students.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qrdistill.base.draws import seed_of
from qrdistill.base.errors import InputError
from qrdistill.base.progress import Progress
from qrdistill.routing.loss_ledger import Ledger
from qrdistill.students.adapters import Bases
from qrdistill.students.loading import load_student, recompute_activations
from qrdistill.students.out_of_memory import activation_bytes, fits, free_memory
from qrdistill.students.packing.mixed import mixes
from qrdistill.students.student import Student
from qrdistill.training.config import TrainConfig
from qrdistill.training.data import Material, Order
from qrdistill.training.dev_questions import DevQuestions
from qrdistill.training.mesh.absent import with_absent
from qrdistill.training.mesh.ranks import Ranks
from qrdistill.training.method import MethodFactory, Setting
from qrdistill.training.optimizers import Group, student_optimizer
from qrdistill.training.plan import TrainData, TrainPlan
from qrdistill.training.step import Team
from qrdistill.training.step_batches import StepBatches, pinned


def load_students(
    plan: TrainPlan, base_dir: Path, seed: int, progress: Progress, ranks: Ranks | None = None
) -> list[Student]:
    """All students; those that other processes train as tokens and facts only."""
    config, ranks = plan.train, ranks or Ranks()
    bases = Bases() if ranks.alone else None  # weights that are cut among processes belong to one student
    own = {
        student.name: load_student(
            student,
            base_dir=base_dir,
            device=config.device,
            autocast=config.autocast,
            compile=config.compile,
            seed=seed_of(seed, "adapters", student.name) >> 1,
            progress=progress,
            bases=bases,
        )
        for s, student in enumerate(plan.students)
        if ranks.owns(s)
    }
    students = list(own.values())
    learning = [student for student in students if not student.config.frozen]
    saving = config.gradient_checkpointing
    if saving == "auto" and config.steps and learning and not _fit(learning, config):
        progress.log("activations are computed again in the backward pass: they would not fit into the free memory")
        saving = True
    for student in learning if saving is True else ():
        recompute_activations(student.model)
    return students if ranks.alone else with_absent(plan.students, own, ranks, config.device)


def _fit(students: Sequence[Student], config: TrainConfig) -> bool:
    return fits(
        free_memory(students[0].device),
        weights_that_train=sum(weight.numel() for student in students for weight in student.trainable_parameters()),
        activations=max(
            activation_bytes(student.core.config.get_text_config(), config.max_tokens_per_batch) for student in students
        ),
    )


def assemble(
    material: Material,
    data: TrainData,
    plan: TrainPlan,
    methods: Sequence[MethodFactory],
    dev: DevQuestions,
    seed: int,
) -> Team:
    """Every trainable parameter is in exactly one of the team's groups. Raises InputError: nothing to train on."""
    students, ranks = material.students, material.ranks
    if not material.paths:
        kept_out = ", ".join(f"{count} {reason}" for reason, count in material.kept_out.items()) or "none came in"
        raise InputError(
            f"no path to train on ({kept_out}); loosen the filter, raise max_context, or generate more paths"
        )
    setting = Setting(
        material,
        Ledger(len(material.paths), tuple(student.name for student in students)),
        plan,
        0 if data.embeddings is None else data.embeddings.shape[1],
        seed,
        dev,
    )
    built = [method(setting) for method in methods]
    groups = [
        Group(
            student.name,
            student_optimizer(student.trainable_parameters(), student.config),
            student.config.learning_rate,
            True,
            plan.train.clip,
        )
        for s, student in enumerate(students)
        if ranks.owns(s) and not student.config.frozen
    ]
    groups += [group for method in built for group in method.groups()]
    together = mixes(students) if ranks.alone and not plan.train.compile else ()
    return Team(students, built, setting.ledger, groups, plan.train, seed, ranks, together)


def step_batches(material: Material, data: TrainData, plan: TrainPlan, team: Team, seed: int) -> StepBatches:
    """What the steps will read. The methods must be prepared: they say which paths may be drawn.

    A path with a fixed destination is drawn whatever they say.
    """
    pinned_NS = pinned(material, data.allowed)
    eligible = [pinned_NS.any(1).numpy(), *(method.eligible_N(len(material.paths)) for method in team.methods)]
    rows = np.flatnonzero(np.logical_or.reduce(eligible))
    order = Order(
        rows,
        material.question_N[rows],
        size=plan.train.paths_per_step,
        seed=seed,
        by=plan.train.order,
    )
    return StepBatches(
        material,
        order,
        pinned_NS,
        team.ledger,
        config=plan.train,
        seed=seed,
    )
