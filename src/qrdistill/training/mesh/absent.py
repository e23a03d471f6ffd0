"""A student that another column trains: here only its tokens and its facts, no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from qrdistill.base.device import resolve_device
from qrdistill.students.config import StudentConfig
from qrdistill.students.loading import load_tokenizer
from qrdistill.students.student import Student
from qrdistill.students.tokens import Codec
from qrdistill.training.mesh.ranks import Ranks

_FACTS = ("packed", "alone", "rope_limit", "hidden_size", "num_rows")


def facts_of(student: Student) -> dict[str, Any]:
    """What other columns must know of a student; it changes where packing fails at length."""
    codec = student.codec
    return {name: getattr(student, name) for name in _FACTS} | {
        "max_context": codec.max_context,
        "stop_ids": sorted(codec.stop_ids),
        "source": student.source,
    }


class AbsentStudent(Student):
    """Encodes and splits like the student itself; nothing of it can be computed."""

    def __init__(self, config: StudentConfig, facts: Mapping[str, Any], device: torch.device) -> None:
        self.name, self.config, self.source, self.device = config.name, config, facts["source"], device
        self.tokenizer = load_tokenizer(self.source, config)
        self.codec = Codec(
            self.tokenizer, name=config.name, max_context=facts["max_context"], stop_ids=facts["stop_ids"]
        )
        self.model = torch.nn.Module()
        self.learn(facts)

    def learn(self, facts: Mapping[str, Any]) -> None:
        """Takes over what its owner says of it now."""
        self.packed, self.alone, self.rope_limit = facts["packed"], facts["alone"], facts["rope_limit"]
        self._hidden_size, self._num_rows = facts["hidden_size"], facts["num_rows"]

    @property
    def hidden_size(self) -> int:
        return self._hidden_size

    @property
    def num_rows(self) -> int:
        return self._num_rows


def with_absent(
    configs: Sequence[StudentConfig], own: Mapping[str, Student], ranks: Ranks, device: str
) -> list[Student]:
    """A process's own students, and beside them the others', in the order of the configs."""
    facts = ranks.everyone({name: facts_of(student) for name, student in own.items()})
    place = resolve_device(device)
    return [own.get(config.name) or AbsentStudent(config, facts[config.name], place) for config in configs]


def tell_again(students: Sequence[Student], ranks: Ranks) -> None:
    """Once owners have changed how their students are batched."""
    if ranks.alone:
        return
    own = {student.name: facts_of(student) for student in students if not isinstance(student, AbsentStudent)}
    for name, facts in ranks.everyone(own).items():
        for student in students:
            if student.name == name and isinstance(student, AbsentStudent):
                student.learn(facts)
