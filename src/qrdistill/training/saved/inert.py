"""What a training held and did not use: tensors that never moved, constant features, options without effect.

Tensor suffixes: N paths of the pool, F embedding features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qrdistill.paths.styles import student_prompt
from qrdistill.training.data import Material
from qrdistill.training.dev_questions import DevQuestions
from qrdistill.training.optimizers import Group
from qrdistill.training.plan import TrainData, TrainPlan
from qrdistill.training.pool import Pool
from qrdistill.training.step import Team

_NAMED = 3  # of a kind in one warning; the others are counted
_AT_ONCE = 1 << 22  # elements that are summed at once: the sum takes a copy of them in 64 bits
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

Marks = Mapping[str, Mapping[str, int]]


def marks(team: Team) -> Marks:
    """One number per trainable tensor, by group and name: it changes when the tensor does.

    Taken before a checkpoint is put back, so that what moved before a kill counts as moved.
    """
    names = _names(team)
    return team.ranks.marks({group.name: dict(_group_marks(group, names)) for group in team.groups})


def _group_marks(group: Group, names: Mapping[int, str]) -> Iterator[tuple[str, int]]:
    seen = set[str]()
    for place, one in enumerate(group.parameters):
        name = names.get(id(one)) or names.get(one.data_ptr(), f"one of shape {tuple(one.shape)}")
        yield (f"{name} ({place})" if name in seen else name), _mark(one)
        seen.add(name)


def inert(
    before: Marks, team: Team, material: Material, data: TrainData, plan: TrainPlan, dev: DevQuestions
) -> Iterator[str]:
    """A warning for each kind of what came to nothing, the methods' own words first. Asked after the last step."""
    yield from (text for method in team.methods if (text := method.close()))
    taken = {group.name: _taken(group) for group in team.groups}
    pairs = ((name, before[name], now) for name, now in marks(team).items())
    unmoved = [text for name, old, now in pairs if (text := _unmoved(name, old, now, taken.get(name, 2)))]
    if unmoved and plan.train.num_steps > 1:  # adapters need a second step, see `_taken`
        yield (
            f"tensors that train and never moved: {'; '.join(unmoved)}. No gradient reached them, or the learning rate "
            "is too small for their type; a student that learns nothing can be frozen or left out"
        )
    if constant := [
        *_constant_embeddings(data, plan, material.pool),
        *(name for each in team.methods for name in each.constant()),
    ]:
        yield (
            f"features that tell the router nothing: {_few(constant)}. Look at the encoder and the paths' texts, and at "
            "whether every student is measured (router.warm)"
        )
    if idle := list(_idle_options(team, material, data, plan, dev)):
        yield f"options without effect: {'; '.join(idle)}"


def _mark(parameter: Tensor) -> int:
    bits = _here(parameter).detach().contiguous().view(-1).view(_INTEGERS[parameter.element_size()])
    return sum(int(part.sum(dtype=torch.int64)) for part in bits.split(_AT_ONCE))


def _here(tensor: Any) -> Tensor:
    """This process's part of a tensor that several share."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _unmoved(name: str, before: Mapping[str, int], now: Mapping[str, int], taken: float) -> str | None:
    stuck = [one for one, mark in now.items() if before[one] == mark]
    if len(stuck) == len(now):
        return f"all {len(stuck)} of {name.removeprefix(':')}" if stuck else None
    if not stuck or taken < 2:
        return None
    return f"{len(stuck)} of {len(now)} of {name.removeprefix(':')} ({_few(stuck)})"


def _taken(group: Group) -> float:
    """Steps of the optimizer, where it counts them. An adapter's first matrix has no gradient in its first step."""
    return max((float(state.get("step", 2)) for state in group.optimizer.state.values()), default=2)


def _names(team: Team) -> dict[int, str]:
    """Of the students' weights by identity, of what methods keep by address."""
    methods = {value.data_ptr(): name for method in team.methods for name, value in method.state_dict().items()}
    return methods | {id(one): name for student in team.students for name, one in student.model.named_parameters()}


def _constant_embeddings(data: TrainData, plan: TrainPlan, pool: Pool) -> Iterator[str]:
    """Paths with a fixed destination are left out: no router shares them out, and they are not embedded."""
    if data.embeddings is None or not plan.router.reads_embeddings:
        return
    routed_N = np.array([path not in data.allowed for path in pool.ids()])
    if routed_N.sum() < 2:
        return
    rows_N1 = routed_N[:, None]
    highest_F = data.embeddings.max(0, where=rows_N1, initial=-np.inf)
    constant = int((highest_F == data.embeddings.min(0, where=rows_N1, initial=np.inf)).sum())
    if constant:
        yield f"{constant} of the {data.embeddings.shape[1]} numbers of the embedding are the same for all paths"


def _idle_options(team: Team, material: Material, data: TrainData, plan: TrainPlan, dev: DevQuestions) -> Iterator[str]:
    """Only what was asked for: a default that does nothing is nobody's mistake."""
    train, given = plan.train, plan.train.model_fields_set
    if given >= set(type(train).model_fields):
        given = set[str]()  # a resolved config, which names every key
    every, names = train.eval_every, plan.train.methods
    if every and (every > train.num_steps or not dev.due(every)):
        why = f"there are {train.num_steps} steps" if dev.due(every) else "there are no dev questions"
        yield f"train.eval_every {every} ({why})"
    if not every and train.patience is not None:
        yield "train.patience (it counts the evaluations of train.eval_every, which is not set)"
    if not every and "eval_questions" in given:
        yield "train.eval_questions (train.eval_every is not set)"
    if "warmup" in given and train.warmup > train.num_steps:
        yield f"train.schedule (the warm-up, train.warmup, outlasts the {train.num_steps} steps)"
    if "style_dropout" in given and train.style_dropout and not _hints(material, data):
        yield "train.style_dropout (no path's style has a hint)"
    if "shared_prefix" in given and train.shared_prefix and not _can_share(material):
        yield "train.shared_prefix (no student reads packed batches, or no question has two paths)"
    if train.mesh.cpu_offload and team.ranks.alone:
        yield "train.mesh.cpu_offload (one process holds its students whole, torchrun starts several)"
    if plan.mutual.weight and len(plan.students) < 2:
        yield "mutual.weight (there is one student)"
    elif plan.mutual.weight and names and "hidden_agreement" not in names:
        yield "mutual.weight (train.methods does not name hidden_agreement)"
    if plan.router.entropy and not any(group.name == ":router" for group in team.groups):
        yield f"router.entropy (router.kind {plan.router.kind} does not learn)"


def _hints(material: Material, data: TrainData) -> bool:
    return any(student_prompt("", data.styles.get(style)) != student_prompt("", None) for style in set(material.styles))


def _can_share(material: Material) -> bool:
    packs = any(student.packed and not student.alone for student in material.students)
    return packs and len(np.unique(material.question_N)) < len(material.paths)


def _few(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
