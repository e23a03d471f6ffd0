"""The embedded default: questions, teacher, judge and base students that need no key and no download."""

from __future__ import annotations

from pathlib import Path

from qrdistill.errors import InputError

_STUDENTS = Path(__file__).parent / "students"


def student_folder(name: str) -> Path:
    """The Hugging Face folder of a base student that comes with the package.

    >>> student_folder("gemma-tiny").name
    'gemma-tiny'

    Raises InputError for a name that there is not.
    """
    known = sorted(folder.name for folder in _STUDENTS.iterdir() if (folder / "config.json").exists())
    if name not in known:
        raise InputError(
            f"the lab has no base student {name!r}; it has {', '.join(known) or 'none: reinstall qrdistill'}"
        )
    return _STUDENTS / name
