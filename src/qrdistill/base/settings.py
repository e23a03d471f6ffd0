"""The base of every config section, and what a name may be."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

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


class Settings(BaseModel):
    """Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
