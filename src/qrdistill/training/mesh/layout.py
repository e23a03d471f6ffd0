"""Which process trains which students: columns of students, and in each column processes that share them.

rank = column * data + place        (the mesh's dimensions: student, data)

Tensor suffix: S students.
"""

from __future__ import annotations

from dataclasses import dataclass

from qrdistill.base.errors import ConfigError
from qrdistill.training.mesh.config import MeshConfig


@dataclass(frozen=True)
class Layout:
    """`students` columns of `data` processes; `column_S`: the column of each student, in the order of names."""

    students: int
    data: int
    column_S: tuple[int, ...]

    def of(self, column: int) -> list[int]:
        """The students of a column."""
        return [s for s, own in enumerate(self.column_S) if own == column]

    def first_rank(self, s: int) -> int:
        """The first of the processes that have student `s`."""
        return self.column_S[s] * self.data

    def __str__(self) -> str:
        return f"({self.students}, {self.data})"


def choose_layout(config: MeshConfig, *, world: int, num_students: int) -> Layout:
    """The mesh of `world` processes. Raises ConfigError where it does not come out even.

    Students of neighbouring names share a column where there are fewer columns than students.

    >>> str(choose_layout(MeshConfig(), world=4, num_students=2)), str(choose_layout(MeshConfig(), world=4, num_students=1))
    ('(2, 2)', '(1, 4)')
    >>> choose_layout(MeshConfig(students=2), world=2, num_students=3).column_S
    (0, 0, 1)
    """
    columns, data = config.students, config.data
    if columns == "auto" and data == "auto":
        columns = max(size for size in range(1, min(world, num_students) + 1) if world % size == 0)
    if columns == "auto":
        assert data != "auto"
        columns = max(1, world // data)
    if data == "auto":
        data = max(1, world // columns)
    if columns * data != world:
        here = "there is 1 process" if world == 1 else f"there are {world} processes"
        raise ConfigError(
            f"students {columns} times data {data} is {columns * data}, but {here}; start {columns * data} with torchrun, "
            f"or set train.mesh.students and train.mesh.data to numbers whose product is {world}",
            key="train.mesh",
        )
    if columns > num_students:
        raise ConfigError(
            f"{columns} columns for {num_students} student(s): a column would have none; at most {num_students}, the "
            "other processes go to train.mesh.data",
            key="train.mesh.students",
        )
    column_S = tuple(s * columns // num_students for s in range(num_students))
    return Layout(columns, data, column_S)
