"""A trained student of a run leaves it: as a folder with a card, as GGUF, onto the hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from qrdistill.base.errors import BoundaryError, InputError
from qrdistill.base.ownership import FILES
from qrdistill.base.progress import Progress, Silent
from qrdistill.runs.leaving.card import card_of
from qrdistill.runs.run import Run

if TYPE_CHECKING:
    from qrdistill.students.student import Student

_TEXTS = 2000  # questions and paths that a GGUF file's tokens are compared on


@dataclass(frozen=True)
class Exported:
    """What was written, and what goes (or went) to the hub. bytes: of all files."""

    folder: Path
    files: list[str]
    bytes: int
    repository: str | None = None
    pushed: bool = False


def export_from_run(
    run_dir: Path,
    student: str,
    to: Path,
    *,
    merge: bool = False,
    gguf: str | None = None,
    push: str | None = None,
    private: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Writes a trained student of a run to a folder (and uploads it where `push` names a repository).

    gguf: `f16`, `q8_0` or `q4_k_m`: a file for llama.cpp joins; adapters are then merged. dry_run: everything is
    written, nothing uploaded.
    """
    from qrdistill.students.export import export_student
    from qrdistill.students.exports.gguf_file import check_gguf, write_gguf

    if gguf is not None:
        gguf = gguf.lower()
        check_gguf(gguf)
    if to.is_symlink() or (to.exists() and (not to.is_dir() or any(to.iterdir()))):
        raise InputError(f"{to} exists and is not empty; choose another folder")
    run = Run(run_dir)
    loaded = load_trained(run, student, progress)
    file = f"{student}-{gguf}.gguf" if gguf else None
    export_student(loaded, to, merge=merge or gguf is not None, card=card_of(run, student), gguf=file)
    if gguf is not None and file is not None:
        write_gguf(
            to,
            to / file,
            gguf,
            name=student,
            stop_ids=sorted(loaded.codec.stop_ids),
            end_id=loaded.codec.end_id,
            texts=list(islice(_texts(run), _TEXTS)),
            progress=progress,
        )
    files = sorted(str(path.relative_to(to)) for path in to.rglob("*") if path.is_file() and path.name != FILES)
    if push and not dry_run:
        _push(to, push, private)
    size = sum((to / name).stat().st_size for name in files)
    return Exported(to, files, size, push, pushed=bool(push) and not dry_run)


def load_trained(run: Run, student: str, progress: Progress | None = None, device: str = "cpu") -> Student:
    """A trained student of a run, ready to be asked. Raises InputError where the run has none of that name."""
    from qrdistill.students.loading import load_student

    source = run.student(student)
    settings = next((entry for entry in run.config.students if entry.name == student), None)
    if settings is None:
        named = ", ".join(entry.name for entry in run.config.students)
        raise InputError(f"{run.folder / 'config.yaml'} no longer names the student {student!r}; it names: {named}")
    settings = settings.model_copy(update={"model": str(source.resolve())})
    return load_student(settings, base_dir=run.folder, device=device, progress=progress or Silent())


def _texts(run: Run) -> Iterator[str]:
    """Prompts and paths as they are trained on; of a run without tables none."""
    from qrdistill.paths.styles import resolve_styles, student_prompt

    styles = list(resolve_styles(run.config.paths.styles).values())
    half = _TEXTS // 2
    if (run.folder / "questions.parquet").exists():
        for at, row in enumerate(islice(run.questions(), half)):
            yield student_prompt(row.question, styles[at % len(styles)] if styles else None)
    if (run.folder / "paths.parquet").exists():
        yield from (path.lesson for path in islice(run.paths(), half))


def _push(folder: Path, repository: str, private: bool) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi()
    try:
        api.create_repo(repository, exist_ok=True, private=private)
        api.upload_folder(repo_id=repository, folder_path=folder, ignore_patterns=[FILES])
    except HFValidationError as error:
        raise InputError(f"--push {repository}: {str(error).splitlines()[0]}; write it as owner/name") from error
    except HfHubHTTPError as error:
        raise BoundaryError(
            f"the hub refused {repository} ({str(error).splitlines()[0]}); {folder} is written: set HF_TOKEN to a "
            f"token that may write, then: hf upload {repository} {folder}"
        ) from error
