"""One table of a run, thin: iterate it as records, or open it with pandas, datasets or DuckDB."""

from __future__ import annotations

import html
import json
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from qrdistill.base.errors import InputError
from qrdistill.base.records import Record
from qrdistill.base.store import count_rows, read_table, shards

if TYPE_CHECKING:
    import datasets
    import duckdb
    import pandas

R = TypeVar("R", bound=Record)
_SHOWN = 5  # rows of a notebook's display
_LONGEST = 160  # characters of one cell of it


@dataclass(frozen=True)
class Table(Generic[R]):
    """`for row in table` streams records; nothing is read before. Raises DataError where the file is damaged."""

    file: Path
    record: type[R]

    def __iter__(self) -> Iterator[R]:
        return read_table(self.file, self.record)

    def __len__(self) -> int:
        return count_rows(self._there())

    def to_pandas(self) -> pandas.DataFrame:
        """All rows; what is stored as JSON text (`metadata`) as dicts."""
        import pyarrow.parquet as pq

        frame = pq.read_table(self._files()).to_pandas()
        for name, info in self.record.model_fields.items():
            if typing.get_origin(info.annotation) is dict:
                frame[name] = frame[name].map(json.loads)
        return frame

    def to_dataset(self) -> datasets.Dataset:
        """Memory-mapped, from the file itself. Needs the extra `hub`."""
        try:
            from datasets import Dataset
        except ImportError as error:
            raise InputError("to_dataset needs the package datasets: pip install 'qrdistill[hub]'") from error
        return Dataset.from_parquet([*self._files()])

    def to_duckdb(self) -> duckdb.DuckDBPyRelation:
        """A relation over the files, to be filtered and joined in SQL."""
        import duckdb

        return duckdb.read_parquet(self._files())

    def _there(self) -> Path:
        if not self.file.exists():
            raise InputError(f"{self.file.parent} has no {self.file.name} yet; run the stage that makes it")
        return self.file

    def _files(self) -> list[str]:
        return [str(file) for file in shards(self._there())]

    def __repr__(self) -> str:
        return f"<{self.file.name}: {len(self)} rows of {self.record.__name__}>"

    def _repr_html_(self) -> str:
        rows = [row.model_dump() for row in islice(self, _SHOWN)]
        return f"<p>{_safe(self.file.name)}: {len(self):,} rows</p>{as_html(rows)}"


def as_html(rows: list[dict[str, Any]]) -> str:
    """A plain table; every cell escaped, long ones cut."""
    if not rows:
        return ""
    head = "".join(f"<th>{_safe(name)}</th>" for name in rows[0])
    body = "".join(f"<tr>{''.join(f'<td>{_safe(value)}</td>' for value in row.values())}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _safe(value: object) -> str:
    text = "" if value is None else str(value)
    return html.escape(text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …")
