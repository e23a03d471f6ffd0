"""The manifest of a run directory: which stage is done, from what, with what outcome.

A stage's *key* hashes everything its output depends on: the stage's settings, the package version,
the hashes of its input files and of the user's files that the settings name. A stage whose key and
outputs match is skipped; a stage of another run with the same key is taken over by hard link.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from qrdistill import __version__
from qrdistill.base.errors import DataError, InputError, QRDistillError
from qrdistill.base.store import atomic, content_hash, write_json
from qrdistill.base.untrusted.guarded_json import read_json
from qrdistill.base.untrusted.remote_file import is_url, version_of
from qrdistill.runs.config import FILE_KEYS

FORMAT = 2
"""Of the run directory. 1 (which its manifest did not say): keys of whole config sections. Its tables are read as they
are, its stages are not gone on from."""
_WHOLE_FILE = 64 << 20  # bytes; larger files of the user's are told apart by size and time


def tree_hash(path: Path, *, whole: bool = False) -> str:
    """Content hash of a file or of a folder's files and their names.

    whole: large files of a folder by their content too: damage keeps size and time.
    """
    if path.is_file():
        return _file_hash(path)
    entries: list[tuple[str, str]] = []
    for file in sorted(path.rglob("*")):
        if file.is_file() and not file.name.startswith("."):
            status = file.stat()
            large = status.st_size > _WHOLE_FILE and not whole
            print_ = f"{status.st_size}-{status.st_mtime_ns}" if large else _file_hash(file)
            entries.append((str(file.relative_to(path)), print_))
    return content_hash(entries)


def _file_hash(file: Path) -> str:
    """A file is read once per process, as long as it stays the same."""
    status = file.stat()
    return _hashed(str(file.resolve()), status.st_size, status.st_ctime_ns, status.st_ino)


@functools.lru_cache(maxsize=4096)
def _hashed(name: str, size: int, time: int, inode: int) -> str:
    return content_hash(Path(name))


def with_files_hashed(value: Any) -> Any:
    """Settings as plain data, each name of an existing file or folder replaced by its content hash; of a file that
    lies elsewhere by what its store says of it."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {
            key: f"{item} {version_of(item)}"
            if isinstance(item, str) and key.rpartition(".")[2] in FILE_KEYS and is_url(item)
            else with_files_hashed(item)
            for key, item in fields.items()
        }
    if isinstance(value, list):
        return [with_files_hashed(item) for item in value]
    if isinstance(value, str) and value.startswith("/") and Path(value).exists():
        return tree_hash(Path(value))
    return value


class Manifest:
    """Reads and writes `manifest.json` of one run directory.

    Raises InputError for one of a newer format, and where `writing` for one of an older format too.
    """

    def __init__(self, folder: Path, *, writing: bool = False) -> None:
        self.folder = folder
        self.file = folder / "manifest.json"
        try:
            content: dict[str, Any] = read_json(self.file, nan=True, fields={"stages": dict})
        except (OSError, DataError):
            content = {"format": FORMAT, "stages": {}}  # none, or one that a crash spoilt: stages run again
        found = content.get("format", 1)
        if not isinstance(found, int) or found > FORMAT:
            raise InputError(
                f"{folder} was made by a newer qrdistill (format {found}; this one reads 1 to {FORMAT}); use that one, "
                "or choose another --run-dir"
            )
        if writing and found < FORMAT and content["stages"]:
            raise InputError(
                f"{folder} was made by an earlier qrdistill (format {found}; this one writes {FORMAT}): show, compare, "
                "report and export still read it, but no stage goes on from it; choose another --run-dir (what was "
                "paid for is in the reply cache)"
            )
        self.writable = found == FORMAT  # whether stages of this format may be recorded in it
        self._stages: dict[str, dict[str, Any]] = content["stages"]

    @property
    def stages(self) -> Mapping[str, Mapping[str, Any]]:
        return self._stages

    def key(self, stage: str, settings: object, inputs: Iterable[str]) -> str:
        """The stage's key; every input must exist."""
        files = {name: self._hash_of(name) for name in inputs}
        return content_hash([stage, __version__, with_files_hashed(settings), files])

    def _hash_of(self, name: str) -> str:
        for record in self._stages.values():
            if name in record.get("outputs", {}):
                return record["outputs"][name]
        return tree_hash(self.folder / name)

    def is_done(self, stage: str, key: str) -> bool:
        """Whether the stage finished under this key and its outputs are still what it wrote."""
        return self._finished(stage, key) and all(map(self._matches, *self._outputs(stage)))

    def spoilt(self, stage: str, key: str) -> list[Path]:
        """The outputs of a stage finished under this key that were damaged or changed since."""
        if not self._finished(stage, key):
            return []
        outputs = zip(*self._outputs(stage), strict=True)
        return [path for path, digest in outputs if path.exists() and not self._matches(path, digest)]

    def check(self, name: str) -> Path:
        """A file's path, for reading. Raises DataError where it is not what its stage wrote."""
        path = self.folder / name
        digests = [record["outputs"][name] for record in self._stages.values() if name in record.get("outputs", {})]
        if digests and not any(self._matches(path, digest) for digest in digests):
            raise DataError(
                f"{path} is damaged or was changed (its checksum is not the one in manifest.json); give the "
                "command that made this run again: the stage that wrote it runs again"
            )
        return path

    def _finished(self, stage: str, key: str) -> bool:
        record = self._stages.get(stage, {})
        return record.get("state") == "done" and record.get("key") == key

    def _outputs(self, stage: str) -> tuple[list[Path], list[str]]:
        outputs = self._stages[stage]["outputs"]
        return [self.folder / name for name in outputs], list(outputs.values())

    def _matches(self, path: Path, digest: str) -> bool:
        return path.exists() and tree_hash(path, whole=True) == digest

    def finish(
        self,
        stage: str,
        key: str,
        outputs: Sequence[str],
        *,
        counts: Mapping[str, Any],
        seconds: float,
        warnings: Sequence[str],
    ) -> None:
        self._forget_other_makers(stage, outputs)
        self._stages[stage] = {
            "state": "done",
            "key": key,
            "outputs": {
                name: tree_hash(self.folder / name, whole=True) for name in outputs if (self.folder / name).exists()
            },
            "counts": dict(counts),
            "seconds": round(seconds, 2),
            "warnings": list(warnings),
            "version": __version__,
        }
        self._save()

    def fail(self, stage: str, key: str, reason: str) -> None:
        """Records why a stage did not finish; the next run tries it again."""
        self._stages[stage] = {"state": "failed", "key": key, "reason": reason, "outputs": {}}
        self._save()

    def take_over(self, stage: str, key: str, others: Iterable[Path]) -> bool:
        """Links the outputs of a finished stage with the same key from another run directory."""
        for folder in others:
            try:
                other = Manifest(folder)
            except InputError:
                continue  # of a newer version
            if folder.resolve() == self.folder.resolve() or not other.is_done(stage, key):
                continue
            record = other._stages[stage]
            if any(Path(name).is_absolute() or ".." in Path(name).parts for name in record["outputs"]):
                continue  # a manifest that we did not write
            for name in record["outputs"]:
                _link(folder / name, self.folder / name)
            self._forget_other_makers(stage, record["outputs"])
            self._stages[stage] = {**record, "taken_from": os.path.relpath(folder, self.folder)}
            self._save()
            return True
        return False

    def _forget_other_makers(self, stage: str, outputs: Iterable[str]) -> None:
        """Stages of another plan (with or without rounds) whose files this one has replaced are not done any more."""
        replaced = set(outputs)
        for name in [name for name, record in self._stages.items() if replaced & set(record.get("outputs", ()))]:
            if name != stage:
                del self._stages[name]

    def _save(self) -> None:
        write_json(self.file, {"qrdistill": __version__, "format": FORMAT, "stages": self._stages})


def _link(source: Path, target: Path) -> None:
    with atomic(target) as temporary:
        if source.is_dir():
            shutil.copytree(source, temporary, copy_function=_link_or_copy)
        else:
            _link_or_copy(str(source), str(temporary))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _lock_file(file: Path) -> IO[str]:
    """Opens a file to lock; one that is there keeps its content, and a link is not followed."""
    try:
        return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666), "w")
    except OSError as error:
        raise InputError(
            f"{file} cannot be used as a lock ({error.strerror}); move it away, then run the same command again"
        ) from error


@contextmanager
def locked(folder: Path, patience: float = 5.0) -> Generator[None]:
    """Holds the run directory for this process; raises where another one holds it.

    `patience` (seconds) outlasts the last moments of a process that was just killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    with _lock_file(folder / ".lock") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise QRDistillError(
                        f"{folder} is in use by another process; wait for it, or choose another --run-dir"
                    ) from None
                time.sleep(0.1)
        yield


@contextmanager
def only_one(file: Path) -> Generator[None]:
    """Waits until no other process is inside with the same file."""
    if file.parent.is_symlink():
        raise InputError(f"{file.parent} is a symbolic link; put a folder in its place")
    file.parent.mkdir(parents=True, exist_ok=True)
    with _lock_file(file) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
