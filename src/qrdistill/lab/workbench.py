"""What studies vary of the embedded default (see `studies.grid.workbench`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qrdistill.runs.config import Config

# name -> student: two families, each from two base checkpoints
_BASES = {"mistral": "mistral-{}", "gemma": "gemma-{}", "mistral-2": "mistral-{}-2", "gemma-2": "gemma-{}-2"}


def scenarios() -> Sequence[tuple[str, str, Mapping[str, object]]]:
    return (
        ("even", "even teacher (S)", {"scenario": "even"}),
        ("uneven", "uneven teacher (U)", {"scenario": "uneven"}),
    )


def teacher(name: str, *, strength: Mapping[str, float], coverage: float) -> dict[str, Any]:
    return {"kind": "lab", "name": name, "strength": dict(strength), "coverage": coverage}


def judge(error_rate: float) -> dict[str, Any]:
    return {"kind": "lab", "name": "rules", "error_rate": error_rate}


def students(config: Config) -> Mapping[str, str]:
    size = "tiny" if config.questions.options.get("size", "small") == "small" else "large"
    return {name: f"lab:{base.format(size)}" for name, base in _BASES.items()}


def second_base(model: str) -> str | None:
    return None if model.endswith("-2") else f"{model}-2"
