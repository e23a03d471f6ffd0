"""What a stage sees of the workers: one `map`, whose results come in order, one after another.

The stage cuts its work into items that depend on nothing but themselves (the paths of whole questions, a batch of
texts), so a worker that dies costs the items it held, which another one does again; and what comes out does not
depend on who did it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from qrdistill.base.progress import Progress
from qrdistill.base.records import Record
from qrdistill.base.store import write_table

T = TypeVar("T")
R = TypeVar("R")


class Workers(Protocol):
    def map(
        self, work: Callable[[T, Progress], R], items: Sequence[T], *, progress: Progress, gpu: bool = False
    ) -> Iterator[R]:
        """`work(item, progress)` of every item, in the items' order, a few ahead of what is taken.

        `work` goes to each worker once, and is kept there with what it has loaded; gpu: it is worth a GPU.
        Raises what `work` raised, of the first item that did.
        """
        ...


@dataclass
class Overheard:
    """A worker's progress: keeps what is said, which the process that asked then says itself."""

    said: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def start(self, stage: str, total: int | None = None) -> None: ...
    def advance(self, steps: int = 1, **facts: object) -> None: ...
    def done(self, **facts: object) -> None: ...
    def log(self, message: str) -> None:
        self.said.append(("log", message))

    def warn(self, message: str) -> None:
        self.said.append(("warn", message))

    def repeat(self, progress: Progress) -> None:
        for how, message in self.said:
            (progress.warn if how == "warn" else progress.log)(message)


def write_shards(folder: Path, record: type[Record], groups: Iterable[Sequence[Record]]) -> list[Path]:
    """Each group of rows as a Parquet file of its own, in constant memory."""
    files: list[Path] = []
    for number, group in enumerate(groups):
        files.append(folder / f"{record.__name__.lower()}-{number:06d}.parquet")
        write_table(files[-1], record, group)
    return files
