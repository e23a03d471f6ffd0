"""The one reader of YAML: config files, a run's config.yaml, `--set` values.

It reads a smaller language than YAML: plain mappings, lists and scalars, no explicit tags; keys, dates and clock
times are text; a repeated key is a mistake. Size, depth and the number of values (aliases expanded) are bounded, so
that no file can keep the reader busy. Every mistake is a ConfigError with file, line and mend.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from qrdistill.base.errors import ConfigError

Lines = dict[tuple[str, ...], int]

MAX_BYTES = 1 << 18
MAX_VALUES = 20_000
MAX_DEPTH = 32
_LARGEST = 2**63 - 1
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_SCALARS = {  # the tag of what is written without quotes; all else is text
    "null": (re.compile(r"~|null|Null|NULL|"), "~nN\0"),
    "bool": (re.compile(r"(?i:yes|no|true|false|on|off)"), "yYnNtTfFoO"),
    "int": (re.compile(r"[-+]?(?:0|[1-9][0-9_]*)"), "-+0123456789"),
    "float": (
        re.compile(
            r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|(?i:[-+]?\.(?:inf|nan))"
        ),
        "-+.0123456789",
    ),
    "merge": (re.compile("<<"), "<"),
}
_FIRST = {
    first: [
        (f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern.pattern})\Z"))
        for tag, (pattern, firsts) in _SCALARS.items()
        if first in firsts.replace("\0", "") or (first == "" and "\0" in firsts)
    ]
    for first in ("", *sorted(set("".join(firsts for _, firsts in _SCALARS.values())) - {"\0"}))
}


def read_yaml(file: Path) -> tuple[dict[str, Any], Lines]:
    """A file's mapping, and the line of each of its keys. Raises ConfigError."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"cannot read this config ({reason}); `qrdistill init NAME` writes one to start from", file=file
        ) from None
    data, lines = parse_yaml(_decoded(raw, file), file=file)
    if not isinstance(data, dict):
        raise ConfigError("a config is a mapping of sections (name, questions, teachers, ...)", file=file, line=1)
    return cast("dict[str, Any]", data), lines


def parse_yaml(text: str, *, file: Path | str | None = None) -> tuple[Any, Lines]:
    """The value that a YAML text holds, and the line of each key. Raises ConfigError; YAMLError is its cause where
    the text is no YAML at all."""
    _check_size(text, file)
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        lines: Lines = {}
        return (_value(node, (), lines) if node else None), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        if isinstance(error, _Refused):
            raise ConfigError(str(error.problem), file=file, line=line) from None
        said = "; ".join(part for part in (error.context, error.problem, error.note) if part)
        raise ConfigError(f"not valid YAML: {said}", file=file, line=line) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"the character {chr(error.character)!r} cannot stand in a config; remove it", file=file, line=line
        ) from error
    except (ValueError, OverflowError) as error:  # an escape or a version that names no character, no number
        line = loader.line + 1 if loader else None
        raise ConfigError(f"not valid YAML: {error}", file=file, line=line) from yaml.YAMLError(str(error))


def dump_yaml(value: object) -> str:
    """A value as YAML that `parse_yaml` reads back as it was."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def line_of(place: Sequence[str], lines: Lines) -> int | None:
    """The line of a key, or of the nearest enclosing one that stands in the file."""
    for length in range(len(place), 0, -1):
        if tuple(place[:length]) in lines:
            return lines[tuple(place[:length])]
    return None


def _check_size(content: str | bytes, file: Path | str | None) -> None:
    if len(content) > MAX_BYTES:
        raise ConfigError(f"larger than {MAX_BYTES // 1024} KiB; a config is a few kilobytes", file=file)


def _decoded(raw: bytes, file: Path) -> str:
    _check_size(raw, file)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError("this is UTF-16 text; save the file as UTF-8", file=file, line=1)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError("not a UTF-8 text file; save it as UTF-8", file=file, line=line) from None


class _Refused(yaml.MarkedYAMLError):
    """Valid YAML that a config may not hold."""


def _refused(message: str, mark: Any) -> _Refused:
    return _Refused(problem=message, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    """Composes nodes while it counts them, so that what is too large is refused before it is built."""

    yaml_implicit_resolvers = _FIRST

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0
        self._sizes: dict[str, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        alias = isinstance(event, yaml.AliasEvent)
        before = self._count
        if alias:
            if event.anchor in self.anchors and event.anchor not in self._sizes:
                raise _refused(f"*{event.anchor} stands inside what it names; write the value out", event.start_mark)
            self._count += self._sizes.get(event.anchor, 0)
        else:
            if event.tag is not None:
                raise _refused(f"tags such as {event.tag} are not read; write the plain value", event.start_mark)
            self._count += 1
        if self._count > MAX_VALUES:
            raise _refused(
                f"more than {MAX_VALUES:,} values, aliases expanded; a config has some hundred", event.start_mark
            )
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _refused(f"nested more than {MAX_DEPTH} deep; a config needs five", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if not alias and event.anchor is not None:
            self._sizes[event.anchor] = self._count - before
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would take for something else than text; never writes an alias."""

    yaml_implicit_resolvers = _FIRST

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _value(node: yaml.Node, place: tuple[str, ...], lines: Lines) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, lines)
    if isinstance(node, yaml.SequenceNode):
        values: list[Any] = []
        for index, part in enumerate(node.value):
            lines[(*place, str(index))] = part.start_mark.line + 1
            values.append(_value(part, (*place, str(index)), lines))
        return values
    return _scalar(cast("yaml.ScalarNode", node))


def _mapping(node: yaml.MappingNode, place: tuple[str, ...], lines: Lines) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    own: dict[str, Any] = {}
    first: dict[str, int] = {}
    for name, part in node.value:
        line = name.start_mark.line + 1
        if not isinstance(name, yaml.ScalarNode):
            raise _refused("a key has to be a plain text, not a list or a mapping", name.start_mark)
        key = _text(name)
        if key in first:
            raise _refused(f"the key {key!r} stands in line {first[key]} already; keep one of the two", name.start_mark)
        first[key] = line
        if name.tag.endswith(":merge"):
            for source in part.value if isinstance(part, yaml.SequenceNode) else [part]:
                if not isinstance(source, yaml.MappingNode):
                    raise _refused("<< takes a mapping, or a list of mappings", part.start_mark)
                inherited: Lines = {}
                for inner, value in _mapping(source, place, inherited).items():
                    merged.setdefault(inner, value)
                for inner, number in inherited.items():
                    lines.setdefault(inner, number)
            continue
        lines[(*place, key)] = line
        own[key] = _value(part, (*place, key), lines)
    return {**copy.deepcopy(merged), **own}


def _text(node: yaml.ScalarNode) -> str:
    if found := _CONTROL.search(node.value):
        raise _refused(f"the character {found[0]!r} cannot stand in a config; remove it", node.start_mark)
    return node.value


def _scalar(node: yaml.ScalarNode) -> Any:
    text, kind = _text(node), node.tag.rpartition(":")[2]
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in ("yes", "true", "on")
    if kind == "int":
        digits = text.replace("_", "")
        if len(digits) > 20 or abs(int(digits)) > _LARGEST:
            raise _refused(
                f"a number of {len(digits)} digits is too large; quote it if a text is meant", node.start_mark
            )
        return int(digits)
    if kind == "float":
        bare = text.lower().replace("_", "")
        number = math.nan if bare[-3:] in ("nan", "inf") else float(bare)
        if not math.isfinite(number):
            raise _refused(f"{text[:20]} is no finite number; quote it if a text is meant", node.start_mark)
        return number
    return text
