"""A planted compatibility is found from a random start; without one, routing stays near chance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from qrdistill.routing.config import RouterConfig
from qrdistill.routing.gates import Pool, Request
from qrdistill.routing.learning_state import LearningState
from qrdistill.routing.loss_ledger import Ledger
from qrdistill.routing.rules import make_assigner
from qrdistill.students.config import StudentConfig
from qrdistill.students.student import View
from qrdistill.students.tokens import Encoded
from qrdistill.training.config import TrainConfig
from qrdistill.training.method import StepBatch
from qrdistill.training.methods.routed_imitation import RoutedImitation
from qrdistill.training.optimizers import Group, student_optimizer
from qrdistill.training.step import Team, training_step

LETTERS, LENGTH = 8, 12


class UnigramStudent:
    """Knows letter frequencies per style; learns only the styles of `learns`."""

    def __init__(self, name: str, learns: str) -> None:
        self.name, self.learns = name, learns
        self.config = StudentConfig(name=name, model="none", learning_rate=0.05)
        self.model = torch.nn.ParameterDict({style: torch.nn.Parameter(torch.zeros(LETTERS)) for style in "xy"})

    def split(self, encoded: Any, max_tokens: int, *, shared_prefix: bool) -> list[list[int]]:
        return [list(range(len(encoded)))]

    def forward(self, encoded: Any, **_: Any) -> View:
        known = [self.model[style] if style in self.learns else self.model[style].detach() for style in "xy"]
        table = torch.stack(known).log_softmax(1)
        styles_B = torch.tensor([path.prompt_ids[0] for path in encoded], dtype=torch.long)
        letters_BL = torch.tensor([path.response_ids for path in encoded], dtype=torch.long).reshape(-1, LENGTH)
        nll_B = -table[styles_B[:, None], letters_BL].sum(1)
        return View(nll_B, torch.full((len(encoded),), LENGTH), LENGTH * len(encoded))


def share_of_first(seed: int, learns: tuple[str, str], peer_loss: str) -> tuple[float, float]:
    """Trains from a random start; mean probability of the first student for x and for y paths."""
    count, size, steps = 160, 16, 100
    generator = np.random.default_rng(seed)
    styles = ["xy"[index % 2] for index in range(count)]
    features = torch.from_numpy(generator.standard_normal((count, 8)).astype(np.float32))
    features[:, 0] = torch.tensor([1.0 if style == "x" else -1.0 for style in styles])
    frequencies = {style: generator.dirichlet(np.full(LETTERS, 0.3)) for style in "xy"}
    encoded = [
        Encoded(("xy".index(style),), tuple(generator.choice(LETTERS, LENGTH, p=frequencies[style]).tolist()), [])
        for style in styles
    ]
    students = [UnigramStudent(name, own) for name, own in zip("ab", learns, strict=True)]
    config = RouterConfig(peer_loss=peer_loss)  # type: ignore[arg-type]
    names = [f"path-{index}" for index in range(count)]
    assigner = make_assigner(Pool(names, styles, ("a", "b"), seed, torch.empty, dict, dict), config, 8)
    groups = [
        Group(student.name, student_optimizer(student.model.parameters(), student.config), 0.05, True, 1.0)
        for student in students
    ]
    ledger = Ledger(count, ("a", "b"))
    state = LearningState(ledger, features, styles)
    routed = RoutedImitation(assigner, ledger, config, state=state)
    team = Team(students, [routed], ledger, [*groups, *routed.groups()], TrainConfig(steps=steps), seed)  # type: ignore[arg-type]
    for step in range(steps):
        rows = np.sort(np.random.default_rng([seed, step]).choice(count, size, replace=False))
        batch = StepBatch(
            Request(rows, features[rows], ledger, step, steps),
            [names[row] for row in rows],
            torch.full((size,), float(LENGTH), dtype=torch.float64),
            torch.zeros(size, 2, dtype=torch.bool),
            lambda s, b, rows=rows: encoded[rows[b]],
        )
        training_step(batch, team, 1.0)
    everything = Request(np.arange(count), features, ledger, steps - 1, steps)
    everything = replace(everything, state=state.look(everything))
    first_N = assigner.gates(everything).soft_BS.detach()[:, 0]
    of_x = torch.tensor([style == "x" for style in styles])
    return float(first_N[of_x].mean()), float(first_N[~of_x].mean())


@pytest.mark.parametrize(
    ("peer_loss", "seed", "learns"),
    [("predicted", 0, "xy"), ("predicted", 1, "yx"), ("fresh", 0, "xy"), ("dense", 1, "yx")],
)
def test_a_planted_compatibility_is_found(peer_loss: str, seed: int, learns: str) -> None:
    of_x, of_y = share_of_first(seed, (learns[0], learns[1]), peer_loss)
    if learns == "yx":
        of_x, of_y = of_y, of_x
    assert of_x > 0.85
    assert of_y < 0.15


def test_without_one_routing_stays_near_chance() -> None:
    shares = [share_of_first(seed, ("xy", "xy"), "predicted") for seed in range(4)]
    assert 0.3 < sum(of_x for of_x, _ in shares) / 4 < 0.7
    assert 0.3 < sum(of_y for _, of_y in shares) / 4 < 0.7
    assert all(abs(of_x - of_y) < 0.6 for of_x, of_y in shares)  # planted: above 0.7
