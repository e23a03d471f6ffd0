"""Sections of a config that belong to a task, used where the user gives none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from qrdistill.base.plugins import registry


@dataclass(frozen=True)
class Preset:
    """`sections` as they would stand in a config file with `questions: {task: ...}`."""

    task: str
    sections: Mapping[str, Any]


def preset_of(task: str) -> Preset | None:
    return registry.find("presets", task) if registry.knows("presets", task) else None


@cache
def embedded_default() -> Preset:
    """What `Config()` is: the preset that comes with this package."""
    (task,) = registry.bundled("presets")
    return registry.find("presets", task)
