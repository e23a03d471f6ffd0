"""What a training must remember across a kill, and how it knows its own checkpoints.

Tensor suffixes: B paths of a step, S students.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qrdistill.base.progress import Progress
from qrdistill.base.store import content_hash
from qrdistill.training.config import TrainConfig
from qrdistill.training.dev_questions import DevQuestions
from qrdistill.training.plan import TrainData, TrainPlan
from qrdistill.training.pool import Pool
from qrdistill.training.saved import checkpoint
from qrdistill.training.saved.journal import Journal, Unwritten
from qrdistill.training.step import StepReport, Team


@dataclass
class LoopState:
    """What the loop itself must remember; students are counted in the order of their names."""

    step: int = 0  # finished steps
    tokens: list[int] = field(default_factory=list[int])
    targets: list[int] = field(default_factory=list[int])
    chosen: list[int] = field(default_factory=list[int])
    warnings: list[str] = field(default_factory=list[str])
    styles: dict[str, str] = field(default_factory=dict[str, str])  # student -> the style that dev chose for it
    best: int | None = None
    best_accuracy: float = -1.0
    worse: int = 0  # dev evaluations in a row without a better one
    stopped: bool = False
    seconds: float = 0.0

    def finished(self, config: TrainConfig) -> bool:
        return self.stopped or self.step >= config.num_steps

    def count(self, report: StepReport) -> None:
        """Enters a finished step."""
        chosen_S = (report.num_targets_BS > 0).sum(0).tolist()
        targets_S = report.num_targets_BS.sum(0).long().tolist()
        none = [0] * len(chosen_S)
        self.step += 1
        self.tokens = [a + b for a, b in zip(self.tokens or none, report.tokens_S, strict=True)]
        self.targets = [a + b for a, b in zip(self.targets or none, targets_S, strict=True)]
        self.chosen = [a + b for a, b in zip(self.chosen or none, chosen_S, strict=True)]

    def better(self, accuracy: float, patience: int | None) -> bool:
        """Enters a dev evaluation; whether these are the best weights so far."""
        if accuracy > self.best_accuracy:
            self.best, self.best_accuracy, self.worse = self.step, accuracy, 0
            return True
        self.worse += 1
        self.stopped = patience is not None and self.worse >= patience
        return False

    def warn(self, message: str | None, progress: Progress) -> None:
        """Says a warning once, however often it goes on being true."""
        if message and message not in self.warnings:
            self.warnings.append(message)
            progress.warn(message)


def fingerprint(data: TrainData, plan: TrainPlan, team: Team, pool: Pool) -> str:
    """A hash of all that shapes what is learnt: a checkpoint of another one is not gone on from."""
    return content_hash(
        [
            plan.train.model_dump(
                mode="json", exclude={key for key in type(plan.train).model_fields if plan.train.shapes_nothing(key)}
            ),
            [student.model_dump(mode="json") for student in plan.students],
            plan.router.model_dump(mode="json"),
            plan.mutual.model_dump(mode="json"),
            [plan.dev_tokens, *plan.dev_stop],
            [method.name for method in team.methods],
            list(data.styles),
            team.seed,
            pool.digest,
            {name: sorted(own) for name, own in data.allowed.items()},
            "" if data.embeddings is None else _hash(data.embeddings),
        ]
    )


def _hash(array: NDArray[np.float32]) -> str:
    octets: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)  # without a copy
    return hashlib.blake2b(octets).hexdigest()


def resume(folder: Path, mark: str, team: Team, dev: DevQuestions, progress: Progress) -> LoopState:
    """The state of the newest intact checkpoint with this fingerprint, put back into the team; or a fresh start."""
    found = team.ranks.from_first(lambda: checkpoint.latest(folder, mark, progress.warn))
    if found is None:
        for method in team.methods:
            method.prepare()
        state = LoopState(styles=dict(dev.styles))
        for choice in dev.choices:
            state.warn(choice.warning(), progress)
        return state
    checkpoint.restore(*found, team)
    return LoopState(**found[1]["loop"])


def save(folder: Path, mark: str, team: Team, state: LoopState, journal: Journal | Unwritten) -> None:
    facts: dict[str, Any] = {"step": state.step, "fingerprint": mark, "loop": asdict(state)}
    facts["journal"] = journal.checkpoint(state.step)
    checkpoint.save(folder, team, facts, keep_last=team.config.keep_last)
