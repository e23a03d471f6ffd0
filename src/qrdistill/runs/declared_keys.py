"""A stage's list of config keys, and the two things that come from it: its settings for the key, its view.

A pattern is a dotted key, `*` for any entry of a list; it names all that is below it: `questions`,
`own_paths.rounds`, `students.*.name`. Keys marked `ShapesNothing` are in no list: every stage may read them, and
no key of a stage depends on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast

from pydantic_core import to_jsonable_python

from qrdistill.base.settings import Settings

S = TypeVar("S", bound=Settings)
Patterns = Sequence[Sequence[str]]  # what is left of each pattern that led here; an empty one names all below

EVERYTHING = ("*",)


def settings_of(config: Settings, reads: Iterable[str]) -> dict[str, Any]:
    """The declared keys and their values, dotted, as plain data; without those that shape nothing.

    >>> from qrdistill.runs.config import Config
    >>> settings_of(Config(), ["seed", "paths.per_style", "students.*.name"])
    {'seed': 0, 'paths.per_style': 1, 'students.0.name': 'mistral', 'students.1.name': 'gemma'}
    """
    return dict(_leaves(config, _split(reads), ""))


def view(config: S, reads: Iterable[str]) -> S:
    """The same config with the declared keys and those that shape nothing; reading any other raises AttributeError."""
    return _only(config, _split(reads))


def _split(reads: Iterable[str]) -> Patterns:
    return [pattern.split(".") for pattern in reads]


def _below(patterns: Patterns, part: str) -> Patterns:
    """The rest of the patterns that lead to `part`."""
    return [pattern and pattern[1:] for pattern in patterns if not pattern or pattern[0] in ("*", part)]


def _leaves(value: Any, patterns: Patterns, place: str) -> Iterator[tuple[str, Any]]:
    for part, child in _children(value):
        rest = _below(patterns, part)
        if not rest or (isinstance(value, Settings) and type(value).shapes_nothing(part)):
            continue
        if any(_children(child)):
            yield from _leaves(child, rest, f"{place}{part}.")
        else:
            yield f"{place}{part}", to_jsonable_python(child)


def _only(value: Any, patterns: Patterns) -> Any:
    if isinstance(value, Settings):
        seen = value.model_copy()
        fields = vars(seen)
        for part, child in _children(value):
            if type(value).shapes_nothing(part):
                continue
            rest = _below(patterns, part)
            fields[part] = _only(child, rest)
            if not rest and not _holds_keys(fields[part]):
                del fields[part]
        return seen
    if _is_sections(value):
        return [_only(child, _below(patterns, part)) for part, child in _children(value)]
    return value


def _holds_keys(value: Any) -> bool:
    """Whether anything is left of a section that is not declared: what shapes nothing."""
    if isinstance(value, Settings):
        return bool(vars(value))
    return _is_sections(value) and any(_holds_keys(item) for item in value)


def _is_sections(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(item, Settings) for item in cast("list[Any]", value))


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    """The keys of a section, or the entries of a list of sections; a plain value has none."""
    if isinstance(value, Settings):
        for key in type(value).model_fields:
            yield key, getattr(value, key)
    elif _is_sections(value):
        for index, item in enumerate(value):
            yield str(index), item
