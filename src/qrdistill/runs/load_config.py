"""Reads a config: YAML in, a checked `Config` out; every mistake with file, line, key and the nearest known key."""

from __future__ import annotations

import copy
import difflib
import os.path
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from qrdistill.base.errors import ConfigError
from qrdistill.base.plugins.presets import preset_of
from qrdistill.base.settings import Settings
from qrdistill.base.untrusted.remote_file import is_url
from qrdistill.base.untrusted.yaml_file import Lines, dump_yaml, line_of, parse_yaml, read_yaml
from qrdistill.runs.config import FILE_KEYS, Config


def load_config(source: Path | str | Mapping[str, Any] | Config, overrides: Sequence[str] = ()) -> Config:
    """Reads and checks a config; `overrides` are `a.b=value` strings, lists by index or by name.

    Paths of files in it become absolute, so that the resolved config works from anywhere. Raises
    ConfigError.

    >>> load_config({}, ["students.mistral.learning_rate=0.5"]).students[0].learning_rate
    0.5
    """
    if isinstance(source, Config):
        source = source.model_dump(mode="json")
    if isinstance(source, Mapping):
        file, data, lines = None, copy.deepcopy(dict(source)), {}
    else:
        file = Path(source)
        data, lines = read_yaml(file)
    if overrides and ("students" not in data or "teachers" not in data):
        defaults = Config().model_dump(mode="json")
        for section in ("students", "teachers"):
            if section not in data and any(text.startswith(f"{section}.") for text in overrides):
                data[section] = defaults[section]
    given = [_override(data, text) for text in overrides]
    _make_absolute(data, (file.parent if file else Path()).resolve())
    try:
        return _as_given(Config.model_validate(data), data)
    except ValidationError as error:
        raise _placed(*_explain(error, data), file, lines, given) from None
    except ConfigError as error:
        raise _placed(error.message, error.key, file, lines, given) from None


def _as_given(config: Config, data: Mapping[str, Any]) -> Config:
    """The config, its sections' `model_fields_set` without what a preset filled in: it names what the user wrote."""
    preset = preset_of(config.questions.task)
    for name, section in (preset.sections if preset else {}).items():
        if isinstance(section, Mapping):
            written = set[str](data.get(name) or ())
            getattr(config, name).model_fields_set.intersection_update(written)
    return config


def placed(error: ConfigError, source: object, overrides: Sequence[str] = ()) -> ConfigError:
    """A stage's complaint about a key, with the place where the user wrote it: file and line, or --set."""
    file = Path(source) if isinstance(source, str | Path) else None
    if error.file is not None or not error.key:
        return error
    data, lines = read_yaml(file) if file else (Config().model_dump(mode="json"), {})
    return _placed(error.message, error.key, file, lines, [_override(data, text) for text in overrides])


def _placed(message: str, key: str, file: Path | None, lines: Lines, given: Sequence[str]) -> ConfigError:
    if any(key == one or key.startswith(f"{one}.") for one in given):
        return ConfigError(message, key=key, file="--set")
    return ConfigError(message, key=key, file=file, line=line_of(key.split("."), lines))


def dump_config(config: Config) -> str:
    """The resolved config, every default written out, as YAML."""
    return dump_yaml(config.model_dump(mode="json"))


def _override(data: dict[str, Any], text: str) -> str:
    """Puts one `--set` into the data; returns its key with list entries by index."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"{key[:40]!r} has no '='; write --set section.key=value", file="--set")
    parts = [part.strip() for part in key.split(".")]
    if not all(parts) or len(parts) > _DEEPEST:
        raise ConfigError(f"{key[:40]!r} is no key; write --set section.key=value", file="--set")
    given: list[str] = []
    here: Any = data
    for position, name in enumerate(parts):
        last = position == len(parts) - 1
        part: Any = name
        if isinstance(here, list):
            part = _index(cast("list[Any]", here), name, key)
            if not last:
                here = here[part]
        elif isinstance(here, dict):
            if not last:
                if here.get(part) is None:
                    here[part] = {}
                here = here[part]
        else:
            raise ConfigError(
                f"cannot go below {'.'.join(parts[:position])!r}, which is a value", key=key, file="--set"
            )
        given.append(str(part))
        if last:
            here[part] = _override_value(key, value)
    return ".".join(given)


def _override_value(key: str, text: str) -> Any:
    """The value of a `--set`: YAML, or the bare text where it is none (`system=Answer: yes: or no`)."""
    try:
        return parse_yaml(text, file="--set")[0]
    except ConfigError as error:
        odd = any(not character.isprintable() and character not in "\n\t" for character in text)
        if odd or text.lstrip()[:1] in set("[{\"'!&*") or not isinstance(error.__cause__, yaml.YAMLError):
            raise ConfigError(error.message, key=key, file="--set") from None
        return text


def _index(items: list[Any], part: str, key: str) -> int:
    names = [str(item.get("name")) if isinstance(item, dict) else str(item) for item in items]
    if part in names:
        return names.index(part)
    indices = [str(index) for index in range(len(items))]
    if part in indices:
        return indices.index(part)
    raise ConfigError(f"no entry {part[:40]!r}; there are {', '.join(names) or 'none'}", key=key, file="--set")


_DEEPEST = 16  # dots in a key of --set


def _make_absolute(data: dict[str, Any], base: Path) -> None:
    """Turns relative file names into absolute ones; a model that is no existing folder stays a hub id."""

    def entries(section: str) -> list[dict[str, Any]]:
        value = data.get(section)
        found = cast("list[Any]", value) if isinstance(value, list) else [value]
        return [cast("dict[str, Any]", item) for item in found if isinstance(item, dict)]

    for entry in (*entries("questions"), *entries("teachers")):
        for key in FILE_KEYS:
            if isinstance(entry.get(key), str) and not is_url(entry[key]):
                entry[key] = str(base / entry[key])
    for entry in (*entries("students"), *entries("teachers"), *entries("encoder")):
        model = entry.get("model")
        if isinstance(model, str) and (model.startswith(("./", "../", "~")) or os.path.isdir(base / model)):
            entry["model"] = os.path.realpath(base / os.path.expanduser(model))


def _explain(error: ValidationError, data: dict[str, Any]) -> tuple[str, str]:
    """One message and key for the first mistake; how many more there are is said at its end."""
    # a misspelt key is the likeliest cause of the others: a missing key, a union without a match
    rank = {"extra_forbidden": 0, "string_type": 2}
    problems = sorted(_problems(error.errors(), [], Config, data), key=lambda found: rank.get(found[2]["type"], 1))
    place, known, problem = problems[0]
    key = ".".join(place)
    message = problem["msg"].removeprefix("Value error, ")
    value = problem.get("input")
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place[-1], known, 1)
        message = f"unknown key; {f'did you mean {near[0]!r}? ' if near else ''}known here: {', '.join(known)}"
    elif problem["type"] == "missing":
        message = "this key is needed and missing"
    elif not isinstance(value, dict | list) and problem["type"] not in ("unknown_name", "unknown_kind"):
        message = f"{value!r}: {message[0].lower()}{message[1:]}"
    if len(problems) > 1:
        message += f" ({len(problems) - 1} more mistakes follow)"
    return message, key


_Problem = tuple[list[str], list[str], Any]  # the user's own key path, the keys known there, what pydantic says


def _problems(errors: Sequence[Any], above: list[str], model: Any, data: Any) -> Iterator[_Problem]:
    """Every mistake with its place; those in a section whose `kind` chose its settings are told by these settings."""
    for problem in errors:
        place, known, here = _place(problem["loc"], model, data)
        if problem["type"] == "in_kind":
            inside = problem["ctx"]
            yield from _problems(inside["errors"], [*above, *place], inside["settings"], here)
        else:
            yield [*above, *place, *(["kind"] if problem["type"] == "unknown_kind" else [])], known, problem


def _place(loc: Sequence[str | int], model: Any, data: Any) -> tuple[list[str], list[str], Any]:
    """The user's own key path of a pydantic location in `model`, the keys known in the section it ends in, and its data."""
    place: list[str] = []
    here: Any = data
    for part in loc:
        if isinstance(part, int):
            place.append(str(part))
            here = here[part] if isinstance(here, list) and part < len(here) else None
            continue
        if isinstance(model, type) and issubclass(model, Settings) and part in model.model_fields:
            place.append(part)
            model = _inner(model.model_fields[part].annotation)
        elif (variant := _variant(model, part)) is not None:
            model = variant  # pydantic names the chosen member of a union; the user never wrote it
            continue
        elif part in ("str", "list") or part.startswith("function-"):
            continue
        else:
            place.append(part)
        here = here.get(part) if isinstance(here, dict) else None
    known = list(model.model_fields) if isinstance(model, type) and issubclass(model, Settings) else []
    return place, known, here


def _inner(annotation: Any) -> Any:
    """What a `list[...]`, `X | None` or annotated field holds, as a settings class or a tuple of them."""
    import typing

    found: list[Any] = []

    def visit(kind: Any) -> None:
        if isinstance(kind, type) and issubclass(kind, Settings):
            found.append(kind)
        for inner in typing.get_args(kind):
            visit(inner)

    visit(annotation)
    return found[0] if len(found) == 1 else tuple(found)


def _variant(model: Any, name: str) -> Any:
    options = cast("tuple[Any, ...]", model if isinstance(model, tuple) else (model,))
    return next((option for option in options if isinstance(option, type) and option.__name__ == name), None)
