"""YAML files with the line of every key, for messages that name the place of a mistake."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from qrdistill.base.errors import ConfigError

Lines = dict[tuple[str, ...], int]


def read_yaml(file: Path) -> tuple[dict[str, Any], Lines]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot read this config ({error.strerror}); `qrdistill init NAME` writes one to start from",
            file=file,
        ) from None
    except UnicodeDecodeError:
        raise ConfigError("not a UTF-8 text file", file=file) from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigError(f"not valid YAML: {error.problem}", file=file, line=mark.line + 1 if mark else None) from None
    if not isinstance(data, dict):
        raise ConfigError("a config is a mapping of sections (name, questions, teachers, ...)", file=file, line=1)
    lines: Lines = {}
    _collect_lines(node, (), lines)
    return cast("dict[str, Any]", data), lines


def _collect_lines(node: yaml.Node | None, place: tuple[str, ...], lines: Lines) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            lines[(*place, str(key.value))] = key.start_mark.line + 1
            _collect_lines(value, (*place, str(key.value)), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*place, str(index))] = value.start_mark.line + 1
            _collect_lines(value, (*place, str(index)), lines)


def line_of(place: Sequence[str], lines: Lines) -> int | None:
    """The line of a key, or of the nearest enclosing one that stands in the file."""
    for length in range(len(place), 0, -1):
        if tuple(place[:length]) in lines:
            return lines[tuple(place[:length])]
    return None
