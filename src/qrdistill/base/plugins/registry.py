"""The one look-up of the names that a config may hold: tasks, styles, teachers, judges, routers and the rest.

A name is looked for in what comes with this package (each folder's `entry_points.txt`), then in what installed
packages declare (entry points of the group `qrdistill.<group>`); `module:attribute` needs no declaration.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from configparser import ConfigParser
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from qrdistill.base.errors import ConfigError

# group -> what a message calls one of its names
GROUPS = {
    "tasks": "task",
    "comparers": "kind",
    "styles": "style",
    "teachers": "kind",
    "judges": "kind",
    "encoders": "kind",
    "routers": "kind",
    "engines": "engine",
    "methods": "method",
    "model_schemes": "scheme",
    "presets": "preset",
    "trackers": "tracker",
    "studies": "study",
    "workbenches": "workbench",
}


def find(group: str, name: str, *, key: str = "") -> Any:
    """What a name of a group stands for. Raises ConfigError, at `key`, for one that is unknown or does not load.

    >>> find("styles", "facts").hint
    'Recall the facts first.'
    """
    point = _point(group, name)
    if point is None:
        raise ConfigError(unknown(group, name), key=key)
    try:
        return point.load()
    except (ImportError, AttributeError, ValueError) as error:
        if name in _bundled()[group]:
            raise
        declared = "" if point.value == name else f" ({point.value} of {_origin(point)})"
        raise ConfigError(
            f"cannot import {name!r}{declared}: {error}; the module has to be installed, or its folder on PYTHONPATH",
            key=key,
        ) from error


def knows(group: str, name: str) -> bool:
    """Whether a name is declared, here or by an installed package; `module:attribute` is not asked for."""
    return name in _bundled()[group] or name in _installed(group, tuple(sys.path))


def names(group: str) -> list[str]:
    """All declared names of a group: those that come with this package first."""
    return list(dict.fromkeys([*bundled(group), *_installed(group, tuple(sys.path))]))


def bundled(group: str) -> list[str]:
    """The names of a group that come with this package.

    >>> bundled("encoders")
    ['hashing', 'huggingface']
    """
    return list(_bundled()[group])


def unknown(group: str, name: str, more: Iterable[str] = ()) -> str:
    """The one message for a name that is not known; `more`: names that are declared elsewhere."""
    known = [*names(group), *more]
    close = difflib.get_close_matches(name, known, 1)
    near = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown {GROUPS[group]} {name!r}; {near}known: {', '.join(map(repr, known))}, or module:function"


def _point(group: str, name: str) -> EntryPoint | None:
    declared = _bundled()[group].get(name) or _installed(group, tuple(sys.path)).get(name)
    if declared is None and all(name.partition(":")[::2]):
        return EntryPoint(name, name, f"qrdistill.{group}")
    return declared


@cache
def _bundled() -> dict[str, dict[str, EntryPoint]]:
    found: dict[str, dict[str, EntryPoint]] = {group: {} for group in GROUPS}
    for file in sorted(Path(__file__).parents[2].glob("*/entry_points.txt")):
        parser = ConfigParser(delimiters=("=",), interpolation=None)
        parser.read(file, encoding="utf-8")
        for section in parser.sections():
            group = section.removeprefix("qrdistill.")
            found[group] |= {name: EntryPoint(name, value, section) for name, value in parser[section].items()}
    return found


@lru_cache(maxsize=64)
def _installed(group: str, path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """What installed packages declare; `path` (sys.path) is where they were looked for.

    Raises ConfigError where two packages declare one name for different things.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"qrdistill.{group}"):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise ConfigError(
                f"the {GROUPS[group]} {point.name!r} is declared twice, as {other.value} by {_origin(other)} and as "
                f"{point.value} by {_origin(point)}; uninstall one of the two"
            )
    return found


def _origin(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "an installed package"
