"""The contract of every training method: weights by path and student that respect where a path must go, finite terms
under its own names, a state that travels; and what all methods ask together."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qrdistill.base.plugins import registry
from qrdistill.base.records import Question, ReasoningPath, path_id
from qrdistill.paths.styles import STYLES
from qrdistill.routing.config import RouterConfig
from qrdistill.students.config import StudentConfig
from qrdistill.students.loading import load_student
from qrdistill.students.student import Student
from qrdistill.training.assemble import assemble, step_batches
from qrdistill.training.config import MutualConfig, TrainConfig
from qrdistill.training.data import Material
from qrdistill.training.dev_questions import DevQuestions
from qrdistill.training.method import Method, Reading, StepBatch, together
from qrdistill.training.methods import chosen_methods
from qrdistill.training.plan import TrainData, TrainPlan
from qrdistill.training.step import Team, training_step

QUESTIONS = {
    f"q{n}": Question(
        id=f"q{n}", split="train", task="t", family="f", kind="number", question=f"Ann has {n} apples?", gold=str(n)
    )
    for n in range(4)
}
PATHS = [
    ReasoningPath(
        id=path_id(0, question, "t", style, 0),
        question_id=question,
        teacher="t",
        style=style,
        prompt_hash="",
        text=f"She has {number} apples.\nThe answer is {number}.",
        answer=str(number),
    )
    for number, question in enumerate(QUESTIONS)
    for style in ("chain_of_thought", "program")
]
OWN = {PATHS[0].id: frozenset({"bob"}), PATHS[5].id: frozenset({"ada"})}  # paths that must go to one student
SMALL = {"attention_dropout": 0.0, "num_hidden_layers": 1, "hidden_size": 16}


@dataclass
class Stage:
    team: Team
    batch: Callable[[int], StepBatch]

    @property
    def method(self) -> Method:
        return self.team.methods[0]


def stage(students: list[StudentConfig], methods: list[Any], *, prepare: bool = True) -> Stage:
    embeddings = np.random.default_rng(0).standard_normal((len(PATHS), 6)).astype(np.float32)
    config = TrainConfig(steps=6, paths_per_step=8, warmup=0, device="cpu")
    loaded: list[Student] = [load_student(one, base_dir=Path(), device="cpu") for one in students]
    data = TrainData(QUESTIONS, PATHS, STYLES, embeddings, OWN)
    plan = TrainPlan(students, RouterConfig(warm="none"), MutualConfig(weight=0.1, dimension=8, share=0.5), config)
    material = Material(QUESTIONS, PATHS, loaded, STYLES, embeddings)
    team = assemble(material, data, plan, chosen_methods(plan, methods), DevQuestions(data, plan, 0), 0)
    for method in team.methods:
        if prepare:
            method.prepare()
    return Stage(team, step_batches(material, data, plan, team, 0).batch)


@pytest.fixture
def students(tiny_student_folder: Callable[..., Path]) -> list[StudentConfig]:
    ada, bob = tiny_student_folder("mistral"), tiny_student_folder("gemma", tokenizer="metaspace", seed=1)
    return [
        StudentConfig(name=name, model=str(folder), learning_rate=3e-3) for name, folder in (("ada", ada), ("bob", bob))
    ]


@pytest.fixture
def all_methods(students: list[StudentConfig]) -> Stage:
    return stage(students, registry.bundled("methods"))


def check_reading(batch: StepBatch, reading: Reading) -> None:
    size = batch.pinned_BS.shape
    assert reading.weights_BS.shape == size
    assert reading.weights_BS.isfinite().all()
    assert not reading.weights_BS.requires_grad
    elsewhere_BS = batch.pinned_BS.any(1, keepdim=True) & ~batch.pinned_BS
    assert elsewhere_BS.any(), "the batch has paths that must go to one student"
    assert not reading.weights_BS[elsewhere_BS].any()
    assert reading.measured_BS is None or (reading.measured_BS.dtype, reading.measured_BS.shape) == (torch.bool, size)
    assert list(reading.compared) == sorted(set(reading.compared) & set(range(size[0])))
    assert not batch.pinned_BS[list(reading.compared)].any()
    if reading.token_weights:
        for b, s in reading.weights_BS.nonzero().tolist():
            assert reading.token_weights(s, b).shape == (batch.encoded(s, b).num_targets,)


@pytest.mark.parametrize("name", registry.bundled("methods"))
class TestEveryMethod:
    def test_its_weights_fit_the_batch_and_respect_where_paths_must_go(self, name: str, students: Any) -> None:
        built = stage(students, ["routed_imitation", name] if name != "routed_imitation" else [name])
        method = built.team.methods[-1]
        assert method.name == name
        batch = built.batch(0)
        check_reading(batch, method.read(batch))
        eligible_N = method.eligible_N(len(PATHS))
        assert (eligible_N.dtype, eligible_N.shape) == (np.dtype(bool), (len(PATHS),))

    def test_its_state_travels_through_a_file_and_goes_on_alike(self, name: str, students: Any) -> None:
        built = stage(students, ["routed_imitation", name] if name != "routed_imitation" else [name])
        method = built.team.methods[-1]
        for step in range(2):
            training_step(built.batch(step), built.team, 1.0)
        saved, file = method.state_dict(), io.BytesIO()
        assert all(isinstance(value, torch.Tensor) for value in saved.values())
        torch.save(saved, file)
        file.seek(0)
        fresh = stage(students, [one.name for one in built.team.methods], prepare=False)
        again = fresh.team.methods[-1]
        fresh_state = again.state_dict()
        assert any(
            fresh_state[key].shape != value.shape or not torch.equal(fresh_state[key], value)
            for key, value in saved.items()
        )
        again.load_state_dict(torch.load(file, weights_only=True))
        for key, value in method.state_dict().items():
            assert torch.equal(again.state_dict()[key], value), key
        fresh.team.ledger.load_state_dict(built.team.ledger.state_dict())
        first, second = method.read(built.batch(2)), again.read(fresh.batch(2))
        assert torch.equal(first.weights_BS, second.weights_BS)
        assert list(first.compared) == list(second.compared)


def test_a_step_of_all_methods_is_finite_and_each_keeps_its_own_names(all_methods: Stage) -> None:
    built = all_methods
    names = [group.name for group in built.team.groups]
    assert len(set(names)) == len(names)
    parameters = [id(parameter) for group in built.team.groups for parameter in group.parameters]
    assert len(set(parameters)) == len(parameters)
    report = training_step(built.batch(0), built.team, 1.0)
    assert {"imitate", "route", "balance", "entropy", "mutual", "competence"} == set(report.losses)
    assert np.isfinite(list(report.losses.values())).all()
    assert set(report.gradient_norms) == set(names)
    json.dumps(dict(report.facts))


def test_together_adds_up_in_any_order(all_methods: Stage) -> None:
    batch = all_methods.batch(0)
    readings = [method.read(batch) for method in all_methods.team.methods]
    whole, turned = together(readings, batch.encoded), together(readings[::-1], batch.encoded)
    check_reading(batch, whole)
    torch.testing.assert_close(whole.weights_BS, sum(reading.weights_BS for reading in readings))
    torch.testing.assert_close(whole.weights_BS, turned.weights_BS)
    assert list(whole.compared) == list(turned.compared) == sorted({b for one in readings for b in one.compared})
    assert whole.gates is turned.gates is readings[0].gates
    assert together(readings[:1], batch.encoded) is readings[0]
