"""One optimizer per student, one for the router, one for the mutual parts; the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from qrdistill.base.errors import InputError
from qrdistill.students.config import StudentConfig
from qrdistill.training.config import TrainConfig


def schedule(config: TrainConfig, step: int) -> float:
    """Factor on the learning rate at `step` (from 0): linear warm-up, then cosine, linear or constant.

    The warm-up ends at 1 after `config.warmup` steps; cosine and linear reach 0 after the last step.

    >>> config = TrainConfig(steps=10, warmup=2)
    >>> [round(schedule(config, step), 2) for step in (0, 1, 2, 6)]
    [0.5, 1.0, 1.0, 0.5]
    """
    if step < config.warmup:
        return (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.num_steps - config.warmup)
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done if config.schedule == "linear" else 1.0


def student_optimizer(parameters: Iterable[nn.Parameter], config: StudentConfig) -> Optimizer:
    """AdamW, fused; or bitsandbytes' 8-bit AdamW (an eighth of the state's memory) where asked."""
    settings: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": config.betas,
        "weight_decay": config.weight_decay,
    }
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, fused=True, **settings)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise InputError(
            f"student {config.name}: optimizer adamw_8bit needs bitsandbytes; pip install 'qrdistill[qlora]'"
        ) from error
    return AdamW8bit(parameters, **settings)


@dataclass(frozen=True)
class Group:
    """What trains together: its optimizer, and the learning rate that the schedule scales."""

    name: str
    optimizer: Optimizer
    learning_rate: float
    scheduled: bool
    clip: float

    @property
    def parameters(self) -> list[Tensor]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def gradient_norm(self) -> float | None:
        """Euclidean norm before clipping; clips to `clip`. None where nothing was read in this step."""
        read = [parameter for parameter in self.parameters if parameter.grad is not None]
        if not read:
            return None
        norm: Any = nn.utils.get_total_norm([parameter.grad for parameter in read if parameter.grad is not None])
        if hasattr(norm, "full_tensor"):  # of weights that several processes share: each knows its part
            norm = norm.full_tensor()
        nn.utils.clip_grads_with_norm_(read, self.clip, norm)
        return float(norm)

    def step(self, factor: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * (factor if self.scheduled else 1.0)
        self.optimizer.step()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name and everything else, for a checkpoint without pickle."""
        tensors: dict[str, Tensor] = {}
        plain: dict[str, Any] = {}
        for index, values in self.optimizer.state_dict()["state"].items():
            _flatten(values, f"{index}", tensors, plain)
        return tensors, plain

    def load_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        state: dict[int, dict[str, Any]] = {}
        for name, value in (*tensors.items(), *plain.items()):
            index, *parents, key = name.split(".")
            place = state.setdefault(int(index), {})
            for parent in parents:
                place = place.setdefault(parent, {})
            place[key] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})


def companion(name: str, parameters: Sequence[nn.Parameter], learning_rate: float) -> Group:
    """What a method trains beside the students, at a constant learning rate, clipped to a norm of 1."""
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    return Group(f":{name}", optimizer, learning_rate, False, 1.0)  # the colon keeps it apart from any student's


def _flatten(values: Mapping[str, Any], prefix: str, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    for key, value in values.items():
        name = f"{prefix}.{key}"
        if isinstance(value, Mapping):  # bitsandbytes nests what it quantized
            _flatten(value, name, tensors, plain)
        elif isinstance(value, Tensor):
            tensors[name] = value
        else:
            plain[name] = value
