"""The base of every config section, and what a name and a number may be."""

from __future__ import annotations

import functools
import re
import typing
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

_LONGEST_NAME = 64
_NAME = r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_-])?"
# device names on Windows, whatever follows a dot; what lies beside the run directories
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?|replies\.sqlite.*", re.IGNORECASE)


def checked_name(name: str) -> str:
    """The name itself; raises ValueError where it could not stand as one part of a path and of an id.

    >>> checked_name("gemma-2.5")
    'gemma-2.5'
    """
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"a name has at most {_LONGEST_NAME} characters, not {len(name)}; shorten it")
    if not re.fullmatch(_NAME, name):
        raise ValueError(
            f"a name should match pattern {_NAME}: ASCII letters, digits, '_', '-' and '.', with no '.' at "
            "either end and no '-' at its beginning; choose another, such as my-name"
        )
    if _RESERVED.fullmatch(name):
        raise ValueError("this name is reserved for the system's or qrdistill's own files; choose another")
    return name


# of a run, student, teacher, judge or style: it becomes a folder, a file or a part of an id
Name = Annotated[
    str,
    AfterValidator(checked_name),
    Field(json_schema_extra={"pattern": f"^{_NAME}$", "maxLength": _LONGEST_NAME}),
]


T = TypeVar("T")
_MARK = "shapes no output"
ShapesNothing = Annotated[T, _MARK]
"""The type of a key that decides how a stage goes about its work (budgets, limits, prices, batch sizes,
tracking) and not what comes out: another value recomputes nothing."""


class Settings(BaseModel):
    """Unknown keys are refused, and so is what only resembles a number.

    A stage sees only the keys that it declares, see `runs.declared_keys`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, data: Any) -> Any:
        """pydantic takes true for 1 where a number is asked; as a text it is refused, with its place."""
        if not isinstance(data, dict):
            return data
        given = cast("dict[str, Any]", data)
        return {key: _spelt_out(value) if _asks_for_numbers(cls, key) else value for key, value in given.items()}

    @field_validator("*", mode="after")
    @classmethod
    def _within_64_bits(cls, value: Any) -> Any:
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise ValueError(f"a number of {value.bit_length() * 0.30103:.0f} digits is too large")
        return value

    @classmethod
    def shapes_nothing(cls, key: str) -> bool:
        return _MARK in cls.model_fields[key].metadata

    if not TYPE_CHECKING:  # a type checker would take every name for a key

        def __getattr__(self, name: str) -> Any:
            if name in type(self).model_fields:
                raise AttributeError(f"{type(self).__name__}.{name} is read by a stage that does not declare it")
            return super().__getattr__(name)


@functools.cache
def _asks_for_numbers(section: type[Settings], field: str) -> bool:
    if field not in section.model_fields:
        return False
    leaves: set[Any] = set()

    def visit(kind: Any) -> None:
        inner = typing.get_args(kind) if typing.get_origin(kind) is not typing.Literal else ()
        for one in inner:
            visit(one)
        if not inner:
            leaves.add(kind)

    visit(section.model_fields[field].annotation)
    return not leaves.isdisjoint({int, float}) and leaves.isdisjoint({bool, object, Any})


def _spelt_out(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _spelt_out(inner) for key, inner in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_spelt_out(inner) for inner in cast("list[Any]", value)]
    return str(value).lower() if isinstance(value, bool) else value
