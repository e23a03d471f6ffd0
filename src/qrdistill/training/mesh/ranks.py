"""What the training asks of the processes that it runs on; here the answers of a single one.

`many.Mesh` gives those of several. Nothing of torch.distributed is imported here.

Tensor suffixes: B paths of the step, S students, N paths of the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from qrdistill.base.store import atomic
from qrdistill.training.mesh.deal import Dealt
from qrdistill.training.mesh.launch import launched
from qrdistill.training.mesh.layout import choose_layout
from qrdistill.training.micro_batches import Work

if TYPE_CHECKING:
    from qrdistill.base.progress import Progress
    from qrdistill.students.student import Student, View
    from qrdistill.training.config import TrainConfig
    from qrdistill.training.method import Reading
    from qrdistill.training.optimizers import Group

T = TypeVar("T")
Cut = Callable[[Tensor | None], list[Work]]  # which pairs [B, S] are read here (None: all) -> micro-batches


class Ranks:
    """One process: it has every student, every path, and nobody to wait for."""

    first = True  # whether this process writes tables, journal and metrics, and speaks
    alone = True

    def owns(self, s: int) -> bool:
        """Whether this process has the weights of student `s`, or a share of them."""
        return True

    def exports(self, s: int) -> bool:
        """Whether it is this process that writes student `s`."""
        return True

    # --- a step, in its order -----------------------------------------------------------------------------

    def agreed(self, reading: Reading) -> Reading:
        """The first process's gates, everywhere: a rounding elsewhere must not send a path to another student."""
        return reading

    def deal(self, cut: Cut, read_BS: Tensor, shared: Sequence[int], tokens: Callable[[int, int], int]) -> list[Dealt]:
        """The micro-batches that this process goes through."""
        return list(enumerate(cut(None)))

    def reading(self) -> AbstractContextManager[None]:
        """Around the forwards and backwards of a step, in which shared weights cross."""
        return nullcontext()

    def spans(self, pooled: Mapping[int, Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """One tensor per student from the columns that have them; only a process's own carry a gradient."""
        return [pooled[s] for s in range(len(shapes))]

    def keep_step(self, views: Mapping[int, View]) -> None:
        """Goes through the backward of an idle micro-batch."""

    def losses(self, nll_BS: Tensor, read_BS: Tensor, tokens: list[int]) -> tuple[Tensor, Tensor, list[int]]:
        """What all processes measured: each pair was read by at most one."""
        return nll_BS, read_BS, tokens

    def sum_gradients(self, groups: Sequence[Group]) -> None:
        """Adds up, within a column, the gradients of what is not sharded."""

    def add_up(self, values: Tensor) -> None:
        """Adds up, within a column and in place, what its processes counted."""

    def report(
        self, sums: Mapping[str, tuple[float, float]], norms: Mapping[str, float | None]
    ) -> tuple[Mapping[str, tuple[float, float]], Mapping[str, float | None]]:
        """Each term's sum beside its weight, and each group's norm, of all processes."""
        return sums, norms

    # --- around the steps ---------------------------------------------------------------------------------

    def share(self, students: list[Student]) -> None:
        """Cuts each student's weights among the processes of its column."""

    def shares(self, parts: Sequence[T]) -> list[tuple[T, bool]]:
        """The parts of a gradient-free reading that this process goes through, and whether each counts."""
        return [(part, True) for part in parts]

    def gathered(self, values_NS: Tensor) -> Tensor:
        """[N, S] of all processes, each of which has a part of the entries and NaN elsewhere."""
        return values_NS

    def everyone(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """What each column says of its students, by name."""
        return dict(own)

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, or raises, everywhere."""
        return make()

    def any(self, asked: bool) -> bool:
        """Whether any process says so."""
        return asked

    def marks(self, own: Mapping[str, Mapping[str, int]]) -> Mapping[str, Mapping[str, int]]:
        """Marks of every group's tensors, whoever has them."""
        return own

    @contextmanager
    def writing(self, target: Path) -> Generator[Path]:
        """A folder that appears as `target`, whole or not at all, when every process has written its part."""
        with atomic(target) as temporary:
            temporary.mkdir(parents=True)
            yield temporary

    def write_parts(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        """What all processes hold of their students, each its own part; see `parts`."""
        raise AssertionError("one process writes whole tensors")

    def whole(self, students: Sequence[Student]) -> None:
        """Puts a student's shares together in the process that exports it."""

    def wait(self, what: str) -> None:
        """Until every process has come here."""


def filled(nll_BS: Tensor, read_BS: Tensor) -> Tensor:
    """What was read, 0 elsewhere: parts of several processes add up."""
    return torch.where(read_BS, nll_BS, 0.0)


def ranks_for(config: TrainConfig, num_students: int, progress: Progress) -> Ranks:
    """Who shares this training: the processes that this one was started with, or itself alone.

    Raises InputError where the mesh does not fit them, or where they are not joined.
    """
    launch = launched()
    layout = choose_layout(config.mesh, world=launch.world if launch else 1, num_students=num_students)
    if launch is None:
        return Ranks()
    from qrdistill.training.mesh.many import Mesh
    from qrdistill.training.mesh.world import joined

    world = joined(config.mesh.timeout)
    assert world is not None
    return Mesh(world, layout, config, progress)
