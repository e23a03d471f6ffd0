"""Writes docs/reference/config.md from the config's own classes: `python -m qrdistill.runs.config_reference FILE`."""

from __future__ import annotations

import json
import sys
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from qrdistill.base.plugins import registry
from qrdistill.base.plugins.kinds import Kinds, KnownName
from qrdistill.base.settings import Settings
from qrdistill.runs.config import Config

_HEAD = """# Config

Every key that a config may hold. This page is generated: `python -m qrdistill.runs.config_reference docs/reference/config.md`.

Keys that are not listed are refused, with the nearest that is. `qrdistill schema` prints the same as JSON Schema, for
editors; a run's `config.yaml` has every default written out. Files are UTF-8 and smaller than 256 KiB; keys, dates and
clock times are text, `yes` and `no` are true and false.
"""
_BOUNDS = {Ge: "≥ {ge:g}", Gt: "> {gt:g}", Le: "≤ {le:g}", Lt: "< {lt:g}"}


def reference() -> str:
    """The page, as Markdown."""
    parts = [_HEAD, *_section("", Config)]
    places: dict[type[Settings], str] = {}
    for name, field in Config.model_fields.items():
        for place, settings in sections_of(name, field):
            first = places.setdefault(settings, place)
            parts += _section(place, settings) if first == place else [f"## {place}", "", f"The keys of {first}.", ""]
    return "\n".join(parts).rstrip() + "\n"


def sections_of(place: str, field: FieldInfo) -> list[tuple[str, type[Settings]]]:
    """The classes of settings at and below a field, each with its dotted place; kinds of a section one by one.

    >>> [place for place, _ in sections_of("mutual", Config.model_fields["mutual"])]
    ['mutual']
    """
    found: list[tuple[str, type[Settings]]] = []

    def add(settings: type[Settings], kinds: Sequence[str] = ()) -> None:
        where = f"{place} ({' or '.join(kinds)})" if kinds else place
        if all(settings is not other for _, other in found):
            found.append((where, settings))
            for name, inner in settings.model_fields.items():
                found.extend(sections_of(f"{place}.{name}", inner))

    def visit(kind: Any, metadata: Sequence[Any]) -> None:
        kinds = next((one for one in metadata if isinstance(one, Kinds)), None)
        if kinds is not None:
            classes: dict[type[Settings], list[str]] = {}
            for name in registry.bundled(kinds.group):
                classes.setdefault(kinds.settings_of(name), []).append(name)
            for settings, names in classes.items():
                add(settings, names if len(classes) > 1 else ())
        elif isinstance(kind, type) and issubclass(kind, Settings):
            add(kind)
        elif hasattr(kind, "__metadata__"):
            visit(kind.__origin__, kind.__metadata__)
        elif typing.get_origin(kind) is not Literal:
            for inner in typing.get_args(kind):
                visit(inner, ())

    visit(field.annotation, field.metadata)
    return found


def _section(place: str, settings: type[Settings]) -> list[str]:
    title = f"## {place}" if place else "## The whole"
    rows = [
        f"| `{name}` | {_type(field)} | {_default(field)} | {_cell(' '.join((field.description or '').split()))} |"
        for name, field in settings.model_fields.items()
    ]
    about = " ".join((settings.__doc__ or "").split("\n\n")[0].split())
    return [title, "", about, "", "| key | value | default | what it does |", "| --- | --- | --- | --- |", *rows, ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _type(field: FieldInfo) -> str:
    bounds = [
        text.format(**_vars(one)) for one in field.metadata for kind, text in _BOUNDS.items() if type(one) is kind
    ]
    return _cell(", ".join([_named(field.annotation, field.metadata), *bounds]))


def _vars(bound: object) -> dict[str, Any]:
    return {name: getattr(bound, name) for name in ("ge", "gt", "le", "lt") if hasattr(bound, name)}


def _named(kind: Any, metadata: Sequence[Any] = ()) -> str:
    for one in metadata:
        if isinstance(one, Kinds):
            return "a section with a `kind`"
        if isinstance(one, KnownName):
            return f"{', '.join(registry.bundled(one.group))} or module:function"
    if hasattr(kind, "__metadata__"):
        return _named(kind.__origin__, kind.__metadata__)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return ", ".join(map(str, inner))
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_named(one) for one in inner)
    if origin is tuple:
        return f"{len(inner)} of {_named(inner[0])}"
    if origin is dict:
        return f"{_named(inner[0])} -> {_named(inner[1])}"
    if origin is not None and inner:
        return f"list of {_named(inner[0])}"
    names = {
        int: "whole number",
        float: "number",
        str: "text",
        bool: "true or false",
        type(None): "null",
        object: "anything",
    }
    return names.get(kind, "a section")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    if field.default_factory_takes_validated_data:
        return ""  # it depends on other keys: the description says how
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or isinstance(value, Settings):
        return ""
    return f"`{json.dumps(value)}`"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
