"""What a stage's function gets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qrdistill.base.progress import Progress
from qrdistill.base.records import Question, ReasoningPath, Record, Verdict
from qrdistill.base.store import TableWriter, read_table
from qrdistill.compute.workers import Workers
from qrdistill.runs.config import Config


@dataclass(frozen=True)
class Context:
    """The keys that the stage declares, the run directory, where in it the stage's tables are, and a voice."""

    config: Config
    folder: Path
    progress: Progress
    base_dir: Path = field(default_factory=Path.cwd)
    round: int = 0
    place: str = ""
    workers: Workers | None = None  # who does what can be shared out; None: this process
    cache: Path | None = None  # a reply cache other than the one beside the run
    trains: bool = True  # whether students are asked for at all, in this call

    @property
    def replies(self) -> Path:
        return self.cache or self.folder.parent / "replies.sqlite"

    @property
    def out(self) -> Path:
        """The folder of this stage's tables."""
        return self.folder / self.place

    def writer(self, name: str, record: type[Record]) -> TableWriter:
        """For one of this stage's tables, in shards where it is long."""
        return TableWriter(self.out / name, record, shard_rows=self.config.shard_rows)

    def questions(self) -> dict[str, Question]:
        return {row.id: row for row in read_table(self.folder / "questions.parquet", Question)}

    @property
    def asked_again(self) -> bool:
        """Whether teachers were asked in this round too."""
        return self.round > 0 and self.config.own_paths.ask_teachers

    def place_of(self, round: int, *, trained: bool = False) -> Path:
        """The folder of a round's tables; what round 0 `trained` lies apart where other rounds follow."""
        return self.folder / f"rounds/{round}" if round or trained else self.folder

    def written(self, round: int, *, own: bool = False) -> Iterator[ReasoningPath]:
        """The paths that the teachers wrote in a round, in canonical order; then, with `own`, the students'."""
        if not round or self.config.own_paths.ask_teachers:
            name = "asked.parquet" if round else "paths.parquet"
            yield from read_table(self.place_of(round) / name, ReasoningPath)
        if round and own:
            yield from read_table(self.place_of(round) / "paths.parquet", ReasoningPath)

    def kept(self, rounds: range) -> list[ReasoningPath]:
        """All paths of some rounds that train."""
        return [path for round in rounds for path in self._kept(round, self.written(round, own=True))]

    def taught(self, round: int) -> list[ReasoningPath]:
        """The teachers' paths of a round that train."""
        return self._kept(round, self.written(round))

    def own(self, round: int) -> list[ReasoningPath]:
        """The students' paths of a round that train."""
        rows = read_table(self.place_of(round) / "paths.parquet", ReasoningPath) if round else ()
        return self._kept(round, rows)

    def _kept(self, round: int, paths: Iterable[ReasoningPath]) -> list[ReasoningPath]:
        verdicts = read_table(self.place_of(round) / "verdicts.parquet", Verdict)
        kept = {row.path_id for row in verdicts if row.check == "filter" and row.outcome == "keep"}
        return [path for path in paths if path.id in kept]
