"""A small joint training, with real tiny models or with students whose loss can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qrdistill.base.progress import Silent
from qrdistill.base.records import Question, ReasoningPath, path_id
from qrdistill.paths.styles import STYLES
from qrdistill.routing.config import RouterConfig
from qrdistill.students.config import StudentConfig
from qrdistill.students.loading import load_student
from qrdistill.training.assemble import assemble, step_batches
from qrdistill.training.config import MutualConfig, TrainConfig
from qrdistill.training.data import Material
from qrdistill.training.dev_questions import DevQuestions
from qrdistill.training.method import StepBatch
from qrdistill.training.methods import chosen_methods
from qrdistill.training.plan import TrainData, TrainPlan
from qrdistill.training.step import Team
from qrdistill.training.step_batches import StepBatches
from qrdistill.training.train import TrainResult, train


@pytest.fixture(scope="session")
def pool() -> tuple[dict[str, Question], list[ReasoningPath], np.ndarray]:
    """Eight questions with a path in two styles each, and an embedding per path."""
    questions, paths = {}, []
    for number in range(8):
        question = Question(
            id=f"train-{number}",
            split="train",
            task="t",
            family="sums",
            kind="number",
            question=f"Ann has {number} apples and buys {number + 2} more. How many?",
            gold=str(2 * number + 2),
        )
        questions[question.id] = question
        texts = {
            "chain_of_thought": f"She has {number} apples.\nShe buys {number + 2} more.\nThe answer is {2 * number + 2}.",
            "program": f"x = {number} + {number + 2}\nprint(x)\nThe answer is {2 * number + 2}.",
        }
        paths += [
            ReasoningPath(
                id=path_id(0, question.id, "t", style, 0),
                question_id=question.id,
                teacher="t",
                style=style,
                prompt_hash="",
                text=text,
                answer=str(2 * number + 2),
            )
            for style, text in texts.items()
        ]
    embeddings = np.random.default_rng(0).standard_normal((len(paths), 6)).astype(np.float32)
    embeddings[:, 0] = [1.0 if path.style == "program" else -1.0 for path in paths]
    return questions, paths, embeddings


@pytest.fixture(scope="session")
def student_configs(tiny_student_folder: Callable[..., Path]) -> list[StudentConfig]:
    folders = {
        "ada": tiny_student_folder("mistral"),
        "bob": tiny_student_folder("gemma", tokenizer="metaspace", seed=1),
    }
    return [StudentConfig(name=name, model=str(folder), learning_rate=3e-3) for name, folder in folders.items()]


class Stage:
    """A team about to train, and what it would read."""

    def __init__(self, team: Team, batches: StepBatches, material: Material, data: TrainData, plan: TrainPlan) -> None:
        self.team, self.batches, self.material, self.data, self.plan = team, batches, material, data, plan

    def batch(self, step: int = 0) -> StepBatch:
        return self.batches.batch(step)

    def method(self, name: str) -> Any:
        return next(method for method in self.team.methods if method.name == name)

    @property
    def assigner(self) -> Any:
        return self.method("routed_imitation").assigner

    def student(self, name: str) -> Any:
        return next(student for student in self.team.students if student.name == name)

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy of every trainable tensor, by owner and name."""
        found = {
            f"{student.name}/{name}": value.detach().clone()
            for student in self.team.students
            for name, value in student.model.named_parameters()
        }
        for group in self.team.groups:
            if group.name.startswith(":"):
                for index, value in enumerate(group.parameters):
                    found[f"{group.name}/{index}"] = value.detach().clone()
        return found


@pytest.fixture
def stage(pool: Any, student_configs: list[StudentConfig]) -> Callable[..., Stage]:
    def build(
        *,
        router: dict[str, Any] | None = None,
        mutual: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        students: list[StudentConfig] | None = None,
        allowed: dict[str, frozenset[str]] | None = None,
        methods: list[Any] | None = None,
        seed: int = 0,
    ) -> Stage:
        questions, paths, embeddings = pool
        settings = TrainConfig(**({"steps": 10, "paths_per_step": 8, "warmup": 0, "device": "cpu"} | (config or {})))
        own = sorted(students or student_configs, key=lambda student: student.name)
        loaded = [
            load_student(student, base_dir=Path("."), device="cpu", autocast=settings.autocast) for student in own
        ]
        material = Material(questions, paths, loaded, STYLES, embeddings)
        data = TrainData(questions, paths, STYLES, embeddings, allowed or {})
        plan = TrainPlan(own, RouterConfig(**(router or {})), MutualConfig(**(mutual or {})), settings)
        team = assemble(material, data, plan, chosen_methods(plan, methods), DevQuestions(data, plan, seed), seed)
        for method in team.methods:
            method.prepare()
        return Stage(team, step_batches(material, data, plan, team, seed), material, data, plan)

    return build


@pytest.fixture(scope="session")
def train_job(pool: Any, student_configs: list[StudentConfig]) -> Callable[..., tuple[TrainData, TrainPlan]]:
    """What `train` is given by `train_run`."""

    def build(
        *,
        students: list[StudentConfig] | None = None,
        router: dict[str, Any] | None = None,
        mutual: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        paths: list[ReasoningPath] | None = None,
        allowed: dict[str, frozenset[str]] | None = None,
        dev: Any = (),
        trials: dict[str, Any] | None = None,
        chosen: dict[str, str] | None = None,
    ) -> tuple[TrainData, TrainPlan]:
        questions, given, embeddings = pool
        read = given if paths is None else paths
        settings = {"steps": 6, "paths_per_step": 6, "warmup": 1, "device": "cpu", "checkpoint_every": 2}
        handed_on: dict[str, Any] = {"trials": trials or {}, "chosen": chosen or {}}
        data = TrainData(questions, read, STYLES, embeddings[: len(read)], allowed or {}, dev, **handed_on)
        plan = TrainPlan(
            students or student_configs,
            RouterConfig(**(router or {})),
            MutualConfig(**({"weight": 0.1} | (mutual or {}))),
            TrainConfig(**(settings | (config or {}))),
            dev_tokens=4,  # random models never stop by themselves
        )
        return data, plan

    return build


@pytest.fixture
def train_run(train_job: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Runs `train` in tmp_path/NAME; returns the result, the folder and what was warned."""

    def run(
        name: str = "run", *, progress: Any = None, seed: int = 0, methods: Any = None, round: int = 0, **job: Any
    ) -> tuple[TrainResult, Path, Silent]:
        folder, told = tmp_path / name, progress or Silent()
        data, plan = train_job(**job)
        result = train(data, plan, folder, base_dir=Path("."), seed=seed, round=round, methods=methods, progress=told)
        return result, folder, told

    return run
