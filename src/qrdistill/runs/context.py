"""What a stage's function gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow.compute import equal  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]

from qrdistill.base.progress import Progress
from qrdistill.base.records import Question, ReasoningPath, Record, Split
from qrdistill.base.rows import RowsById
from qrdistill.base.store import TableWriter, read_batches, read_table, records_of
from qrdistill.base.untrusted.guarded_json import read_json
from qrdistill.compute.workers import Workers
from qrdistill.own_paths.guard import Yield
from qrdistill.runs.apart.together import Together
from qrdistill.runs.config import Config
from qrdistill.runs.kept import COLUMNS, asked_texts, kept_batches, kept_paths, lesson_texts, pool_batches

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qrdistill.students.config import StudentConfig
    from qrdistill.training.pool import Pool


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
    others: Together | None = None  # the processes that train with this one

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

    def questions_of(self, split: Split) -> Iterator[Question]:
        """The rows of one split; no record is made of the others."""
        file = self.folder / "questions.parquet"
        for batch in read_batches(file, Question):
            yield from records_of(batch.filter(equal(batch.column("split"), split)), Question, where=file)

    def questions_by_id(self) -> RowsById[Question]:
        """The same in little memory, for who asks for one after the other."""
        return RowsById(self.folder / "questions.parquet", Question)

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

    def kept(self, rounds: range) -> Iterator[ReasoningPath]:
        """All paths of some rounds that train."""
        return (path for round in rounds for own in (False, True) for path in self._kept(round, own))

    def taught(self, round: int) -> Iterator[ReasoningPath]:
        """The teachers' paths of a round that train."""
        return self._kept(round, own=False)

    def own(self, round: int) -> Iterator[ReasoningPath]:
        """The students' paths of a round that train: the kept ones of those whose sampling yielded enough."""
        return self._kept(round, own=True)

    def yields(self, round: int) -> list[Yield]:
        """What each student's sampling in a round came to."""
        place, columns = self.place_of(round), ["id", "teacher"]
        tables = (
            read_batches(place / "paths.parquet", ReasoningPath, columns),
            kept_batches(place / "paths.parquet", place / "verdicts.parquet", columns),
        )
        sampled, kept = (
            Counter(name for batch in batches for name in batch.column("teacher").to_pylist()) for batches in tables
        )
        return [Yield(round, name, sampled[name], kept[name]) for name in sampled]

    def taught_columns(self, round: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """`taught` as Arrow batches with these columns, `id` among them: for who needs no record of a path."""
        for paths, verdicts in self._tables(round, own=False):
            yield from kept_batches(paths, verdicts, columns)

    def all_taught(self) -> Iterator[ReasoningPath]:
        """The teachers' paths of all rounds until now that train."""
        return (path for earlier in range(self.round + 1) for path in self.taught(earlier))

    def pool(self, own: Iterable[ReasoningPath]) -> Pool:
        """What training draws from: `all_taught`, then the students' `own`; its file lies in the stage's folder."""
        from qrdistill.training.pool import Pool, batches_of

        asked = asked_texts(self.folder / "questions.parquet", closing_line=self.config.train.closing_line)
        taught = (batch for earlier in range(self.round + 1) for batch in self.taught_columns(earlier, COLUMNS))
        return Pool(chain(pool_batches(taught, asked), batches_of(own, asked)), self.out)

    def taught_texts(self) -> Iterator[tuple[str, str]]:
        """Question and lesson of each path that the teachers wrote in this round and that trains."""
        questions = self.questions_by_id()
        for name, lesson in lesson_texts(self.taught_columns(self.round, COLUMNS)):
            yield questions[name].question, lesson

    def styles(self, place: Path) -> dict[str, str]:
        """Student -> the style that it has there, where it has one."""
        return read_json(place / "styles.json")

    def continued(self) -> list[StudentConfig]:
        """The students as the round before left them."""
        return self.trained(self.place_of(self.round - 1, trained=True))

    def trained(self, place: Path) -> list[StudentConfig]:
        """The students that training left there; a relative path would be looked for beside the config file."""
        folder = place.absolute() / "students"
        return [student.model_copy(update={"model": str(folder / student.name)}) for student in self.config.students]

    def vectors(self, own: int) -> NDArray[np.float32]:
        """The teachers' paths' embeddings; zeros for `own` paths, which no router shares out."""
        import numpy as np

        rounds = range(self.round + 1) if self.asked_again else (0,)
        parts = [np.load(self.place_of(round) / "embeddings.npy", mmap_mode="r") for round in rounds]
        if len(parts) == 1 and not own:
            return parts[0]
        zeros = np.zeros((own, parts[0].shape[1]), np.float32)
        return np.concatenate([*(part for part in parts if len(part)), zeros])

    def _kept(self, round: int, own: bool) -> Iterator[ReasoningPath]:
        without = {one.student for one in self.yields(round) if not one.teaches} if own and round else set[str]()
        for paths, verdicts in self._tables(round, own):
            yield from (path for path in kept_paths(paths, verdicts) if path.teacher not in without)

    def _tables(self, round: int, own: bool) -> Iterator[tuple[Path, Path]]:
        place = self.place_of(round)
        if own and round:
            yield place / "paths.parquet", place / "verdicts.parquet"
        elif not own and (not round or self.config.own_paths.ask_teachers):
            yield place / ("asked.parquet" if round else "paths.parquet"), place / "verdicts.parquet"
