"""The embedded default: questions, teacher, judge and base students that need no key and no download."""

from __future__ import annotations

from pathlib import Path

from qrdistill.base.errors import InputError

_STUDENTS = Path(__file__).parent / "students"
MADE = Path("lab-students")  # where `make_students` puts further ones, under the working directory


def student_folder(name: str) -> Path:
    """The Hugging Face folder of a base student that comes with the package, or was made here.

    >>> student_folder("gemma-tiny").name
    'gemma-tiny'

    Raises InputError for a name that there is not.
    """
    folders = {
        folder.name: folder
        for place in (MADE, _STUDENTS)  # a shipped name is always the shipped student
        if place.is_dir()
        for folder in sorted(place.iterdir())
        if (folder / "config.json").exists()
    }
    if name not in folders:
        raise InputError(
            f"the lab has no base student {name!r}; it has {', '.join(sorted(folders)) or 'none: reinstall qrdistill'}. "
            f"Large ones are made by `python -m qrdistill.lab.make_students mistral-large gemma-large` into ./{MADE}"
        )
    return folders[name].absolute()
