"""What is ours to overwrite: a folder is marked when we make it, and one without the mark is left alone.

    D/.qrdistill                           `qrdistill 1`: our files in D are ours to replace and remove
    D/students/<name>/.qrdistill-files     the files that the student consists of

Symbolic links are never written through: a link inside one of our folders is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from qrdistill.base.errors import BoundaryError, DataError, InputError
from qrdistill.base.store import is_temporary
from qrdistill.base.untrusted.guarded_json import read_json

MARK = ".qrdistill"
FILES = ".qrdistill-files"
_FORMAT = 1
_FIRST_LINE = f"qrdistill {_FORMAT}\n"

# what we keep in the folders of a run that are replaced or emptied as a whole
_INSIDE = (
    r"checkpoints/(key|step-\d+/state\.(json|safetensors)|best/weights\.safetensors)",
    r"checkpoints/(step-\d+|best)/parts/(index\.json|shard-[\w-]+\.safetensors)",
    r"assignments/part-\d+\.parquet",
    r"(checkpoints|assignments|students|metrics\.jsonl|embeddings\.npy)",
    r"(assignments|paths|verdicts|asked|failures|truth)\.parquet(/part-\d+\.parquet)?",
    r"trials\.json",
    r"styles\.json",
    r"students/[^/]+/.+",
    r"(tensorboard|wandb)/.+",
    r"(checkpoints|students|assignments)/([^/]+/)?\.[^/]+\.\d+\.tmp(/.+)?",  # leftovers of versions without marks
)
_OURS = re.compile(rf"(rounds/\d+/)?({'|'.join(_INSIDE)})")
_EMPTIED = ("checkpoints", "assignments", "students", "rounds")
# what stands beside the runs in the folder of a study or demo
_BESIDE_RUNS = re.compile(r"study\.json|report\.html|replies\.sqlite(-wal|-shm|-journal)?|\.locks|token_counts")


def claim(folder: Path) -> None:
    """Makes a folder ours, or finds that it is; the first thing to do before anything is written into it.

    Raises InputError, and changes nothing, where the folder holds what we did not write; BoundaryError
    where the disk refuses.
    """
    if not check_ours(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # another process claims it at the same moment
                _write_new(folder / MARK, _FIRST_LINE)
        except OSError as error:
            raise BoundaryError(f"cannot write {folder}: {error.strerror or error}; choose another folder") from error


def check_ours(folder: Path) -> bool:
    """Whether a folder is marked; False where it may be made ours. Raises InputError where it may not."""
    try:
        entries = sorted(folder.iterdir())
    except FileNotFoundError:
        if folder.is_symlink():
            raise InputError(f"{folder} is a link to nothing; remove it or choose another folder") from None
        return False
    except OSError as error:
        raise InputError(f"{folder} cannot be used as a folder ({error.strerror}); choose another") from None
    marked = _is_marked(folder)
    entries = [entry for entry in entries if not is_temporary(entry) and entry.name != ".lock"]
    if entries and not marked and not _was_ours_before_marks(folder, entries):
        shown = ", ".join(entry.name for entry in entries[:3]) + (", ..." if len(entries) > 3 else "")
        raise InputError(f"{folder} holds files that qrdistill did not make ({shown}); choose a new or empty folder")
    _refuse_links(folder)
    _refuse_strays(folder)
    return marked


def list_files(folder: Path) -> None:
    """Writes into a finished folder which files it consists of, so that what joins later is told apart."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    (folder / FILES).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def remove_files(folder: Path, patterns: Sequence[str]) -> None:
    """Removes the files of a folder that match, then the folder if nothing else is in it; never through a link."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path.is_symlink() or path.is_file():
                path.unlink(missing_ok=True)
    with suppress(OSError):  # something that is not ours stays, and its folder with it
        folder.rmdir()


def _is_marked(folder: Path) -> bool:
    mark = folder / MARK
    if mark.is_symlink() or not mark.is_file():
        return False
    text = mark.read_text(encoding="utf-8", errors="replace")
    found = re.match(r"qrdistill (\d+)\n", text)
    if found and int(found[1]) > _FORMAT:
        raise InputError(
            f"{folder} was made by a newer qrdistill (format {found[1]}); use that one, or choose another folder"
        )
    return found is not None or not text  # a kill between making and writing the mark leaves it empty


def _was_ours_before_marks(folder: Path, entries: Sequence[Path]) -> bool:
    """A run of a version that made no marks has our manifest; a study's folder has nothing but such runs."""
    if _has_our_manifest(folder):
        return True
    names = {entry.name for entry in entries}
    if ".locks" not in names and names & {"study.json", "report.html"}:
        return False
    rest = [entry for entry in entries if not _BESIDE_RUNS.fullmatch(entry.name)]
    return bool(rest) and all(
        entry.is_dir() and not entry.is_symlink() and (_has_our_manifest(entry) or _is_marked(entry)) for entry in rest
    )


def _has_our_manifest(folder: Path) -> bool:
    file = folder / "manifest.json"
    if file.is_symlink() or not file.is_file():
        return False
    try:
        content: Any = read_json(file, nan=True)
    except (OSError, DataError):
        return False
    fields = cast("dict[str, Any]", content) if isinstance(content, dict) else {}
    return isinstance(fields.get("qrdistill"), str) and isinstance(fields.get("stages"), dict)


def _refuse_links(folder: Path) -> None:
    for path in (*folder.iterdir(), *(path for part in _EMPTIED for path in _walk(folder / part))):
        if path.is_symlink() and "wandb" not in path.relative_to(folder).parts:  # it keeps a link to its latest run
            raise InputError(
                f"{path} is a symbolic link, and qrdistill writes through none; put a folder or file in its "
                "place, or choose another run directory"
            )


def _refuse_strays(folder: Path) -> None:
    """What stands in the folders that are replaced or emptied as a whole has to be ours."""
    listed: dict[Path, set[str] | None] = {}
    for part in _EMPTIED:
        for path in _walk(folder / part):
            if path.is_dir() or is_temporary(path) or any(is_temporary(above) for above in path.parents):
                continue
            place = path.relative_to(folder)
            found = _OURS.fullmatch(str(place))
            if found and "students" in place.parts:
                student = folder.joinpath(*place.parts[: place.parts.index("students") + 2])
                if student not in listed:
                    listed[student] = _listed(student)
                names = listed[student]
                if names is None or str(path.relative_to(student)) in names:
                    continue
            elif found:
                continue
            raise InputError(
                f"{path} is no file of qrdistill's, in a folder that it replaces; move it away, then run the "
                "same command again"
            )


def _listed(student: Path) -> set[str] | None:
    """The files that a student's folder consists of; None for one that an earlier version wrote."""
    try:
        return {FILES, *(student / FILES).read_text(encoding="utf-8").splitlines()}
    except OSError:
        return None


def _walk(folder: Path) -> Iterator[Path]:
    """All that is below a folder, in order; links are named and not followed."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(place, name) for name in sorted((*folders, *files)))


def _write_new(file: Path, text: str) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
