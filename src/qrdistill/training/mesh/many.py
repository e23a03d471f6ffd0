"""Several processes: what crosses between them in a step, and how they stay in step.

Between columns go gates, per-path losses and pooled spans; within a column weights and gradients (FSDP2 sends
those by itself). Tensor suffixes: B paths of the step, S students, N paths of the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from qrdistill.base.device import resolve_device
from qrdistill.base.errors import QRDistillError
from qrdistill.base.progress import Progress
from qrdistill.students.student import Student, View
from qrdistill.training.config import TrainConfig
from qrdistill.training.mesh.deal import Dealt, in_step, own_part, places, round_robin
from qrdistill.training.mesh.layout import Layout
from qrdistill.training.mesh.parts import seal_parts, write_parts
from qrdistill.training.mesh.ranks import Cut, Ranks, filled
from qrdistill.training.mesh.shards import is_cut, put_together, shard, why_not
from qrdistill.training.mesh.world import World
from qrdistill.training.method import Reading
from qrdistill.training.optimizers import Group

T = TypeVar("T")


class Mesh(Ranks):
    """This process's place among the others: `column` and `place` in it."""

    alone = False

    def __init__(self, world: World, layout: Layout, config: TrainConfig, progress: Progress) -> None:
        self.layout, self._config, self._world, self._say = layout, config.mesh, world, progress.log
        kind = resolve_device(config.device).type
        self.mesh: DeviceMesh = init_device_mesh(
            kind, (layout.students, layout.data), mesh_dim_names=("student", "data")
        )
        self.column, self.place = divmod(world.rank, layout.data)
        self.first = world.rank == 0
        self._students: list[Student] = []
        self._sharded: list[int] = []
        self._whole_micro_batches = False

    def owns(self, s: int) -> bool:
        return self.layout.column_S[s] == self.column

    def exports(self, s: int) -> bool:
        return self.layout.first_rank(s) == self._world.rank

    @property
    def _own(self) -> list[int]:
        return self.layout.of(self.column)

    # --- a step, in its order -----------------------------------------------------------------------------

    def agreed(self, reading: Reading) -> Reading:
        weights_BS = reading.weights_BS
        measured_BS = (
            torch.zeros_like(weights_BS) if reading.measured_BS is None else reading.measured_BS.to(weights_BS)
        )
        compared_B1 = torch.zeros_like(weights_BS[:, :1])
        compared_B1[list(reading.compared)] = 1
        gates = torch.cat([weights_BS, measured_BS, compared_B1], dim=1).contiguous()
        with self._at("gates"):
            dist.broadcast(gates, 0)
        weights_BS, measured_BS, compared_B1 = gates.split([*2 * [weights_BS.shape[1]], 1], dim=1)
        return replace(
            reading,
            weights_BS=weights_BS,
            measured_BS=None if reading.measured_BS is None else measured_BS > 0,
            compared=compared_B1.flatten().nonzero().flatten().tolist(),
        )

    def deal(self, cut: Cut, read_BS: Tensor, shared: Sequence[int], tokens: Callable[[int, int], int]) -> list[Dealt]:
        """With dropout, whole micro-batches of one process: its lots are named after them. Otherwise even parts."""
        if self.layout.data == 1:
            return own_part(cut(None), self._own)
        if self._whole_micro_batches:
            shares = round_robin(own_part(cut(None), self._own), self.layout.data)
        else:
            place_BS = places(read_BS, shared, tokens, self.layout.data)
            shares = [own_part(cut(place_BS == place), self._own) for place in range(self.layout.data)]
        return in_step(shares, self.place, self._sharded, tokens)

    def reading(self) -> AbstractContextManager[None]:
        return self._world.watch.at("weights and gradients of a column", waits=False)

    def spans(self, pooled: Mapping[int, Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        group = self.mesh.get_group("student")
        found: list[Tensor] = []
        for s, shape in enumerate(shapes):
            own = pooled.get(s)
            like = next(iter(pooled.values()))
            sent = torch.empty(shape, dtype=torch.float32, device=like.device)
            if own is not None:
                sent.copy_(own.detach())
            if self.layout.students > 1:
                with self._at("pooled spans"):
                    dist.broadcast(sent, self.layout.column_S[s] * self.layout.data + self.place, group=group)
            found.append(sent if own is None else own)
        return found

    def keep_step(self, views: Mapping[int, View]) -> None:
        nothing = sum((view.nll_B.sum() * 0 for view in views.values()), start=torch.zeros(()))
        if nothing.requires_grad:
            nothing.backward()

    def losses(self, nll_BS: Tensor, read_BS: Tensor, tokens: list[int]) -> tuple[Tensor, Tensor, list[int]]:
        parts = [filled(nll_BS, read_BS).double().flatten(), read_BS.double().flatten(), torch.tensor(tokens).double()]
        sums = torch.cat(parts)
        with self._at("per-path losses"):
            dist.all_reduce(sums)
        nll, read, counts = sums.split([len(part) for part in parts])
        everywhere_BS = read.reshape(read_BS.shape) > 0
        summed_BS = nll.reshape(nll_BS.shape).to(nll_BS)
        return torch.where(everywhere_BS, summed_BS, torch.nan), everywhere_BS, counts.long().tolist()

    def sum_gradients(self, groups: Sequence[Group]) -> None:
        if self.layout.data == 1:
            return
        sharded = {self._students[s].name for s in self._sharded}
        for group in groups:
            if group.name not in sharded:
                self._sum(group)

    def _sum(self, group: Group) -> None:
        parameters = group.parameters
        device = parameters[0].device
        parts = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
        reached = torch.tensor([any(one.grad is not None for one in parameters)], dtype=torch.float32, device=device)
        flat = torch.cat([*(part.float().flatten() for part in parts), reached])
        self.add_up(flat, f"gradients of {group.name.removeprefix(':')}")
        if not flat[-1]:
            return
        for one, summed in zip(parameters, flat[:-1].split([part.numel() for part in parts]), strict=True):
            one.grad = summed.reshape(one.shape).to(one)

    def add_up(self, values: Tensor, what: str = "sums") -> None:
        if self.layout.data > 1:
            with self._at(what):
                dist.all_reduce(values, group=self.mesh.get_group("data"))

    def report(
        self, sums: Mapping[str, tuple[float, float]], norms: Mapping[str, float | None]
    ) -> tuple[Mapping[str, tuple[float, float]], Mapping[str, float | None]]:
        every = self._all((dict(sums), dict(norms)), "terms and norms")
        total: dict[str, tuple[float, float]] = {}
        merged: dict[str, float | None] = {}
        for rank, (own, measured) in enumerate(every):
            for name, (value, weight) in own.items():  # what is between students each column has computed in full
                counted = name == "imitate" or rank < self.layout.data
                total[name] = total.get(name, (0.0, 0.0))[0] + (value if counted else 0.0), weight
            merged = {**measured, **merged}
        order = [*(student.name for student in self._students), *norms]
        return total, {name: merged[name] for name in dict.fromkeys(order) if name in merged}

    # --- around the steps ---------------------------------------------------------------------------------

    def share(self, students: list[Student]) -> None:
        self._students = students
        cuts = self.layout.data > 1 or self._config.cpu_offload
        reasons = {student.name: why_not(student) for s, student in enumerate(students) if self.owns(s) and cuts}
        for s, student in enumerate(students):
            if self.owns(s) and cuts and reasons[student.name] is None:
                shard(student, self.mesh["data"], self._config)
                self._sharded.append(s)
        for name, reason in self.everyone(reasons).items():
            if reason is not None:
                self._say(
                    f"student {name}: {reason}; each process of its column has them all and gradients are added up"
                )
        self._whole_micro_batches = self.any(any(_drops(students[s]) for s in self._own)) and self.layout.data > 1
        if self._whole_micro_batches:
            self._say(
                "dropout: whole micro-batches are dealt to the processes, so that its lots do not depend on them; a "
                "step needs as many (a lower train.max_tokens_per_batch), or lora.dropout 0, for all to have work"
            )

    def shares(self, parts: Sequence[T]) -> list[tuple[T, bool]]:
        count = self.layout.data
        rounds = -(-len(parts) // count)
        mine = [turn * count + self.place for turn in range(rounds)]
        return [(parts[at] if at < len(parts) else parts[0], at < len(parts)) for at in mine]

    def gathered(self, values_NS: Tensor) -> Tensor:
        known_NS = ~values_NS.isnan()
        sums = torch.stack([filled(values_NS, known_NS), known_NS.to(values_NS)])
        with self._at("measured losses"):
            dist.all_reduce(sums)
        return torch.where(sums[1] > 0, sums[0], torch.nan)

    def everyone(self, own: Mapping[str, Any]) -> dict[str, Any]:
        every = self._all(dict(own), "facts of the students")
        merged = {name: value for facts in reversed(every) for name, value in facts.items()}
        return {name: merged[name] for name in sorted(merged)}

    def from_first(self, make: Callable[[], T]) -> T:
        found: list[Any] = [None]
        if self.first:
            try:
                found = [(make(), None)]
            except QRDistillError as error:
                found = [(None, error)]
        with self._at("the first process"):
            dist.broadcast_object_list(found, 0)
        value, error = found[0]
        if error is not None:
            raise error
        return value

    def any(self, asked: bool) -> bool:
        flag = torch.tensor([float(asked)])
        with self._at("who is asked to stop"):
            dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag.item())

    def marks(self, own: Mapping[str, Mapping[str, int]]) -> Mapping[str, Mapping[str, int]]:
        every = self._all({name: dict(marks) for name, marks in own.items()}, "marks of the weights")
        merged: dict[str, dict[str, int]] = {}
        for marks in every:
            for group, each in marks.items():
                place = merged.setdefault(group, dict.fromkeys(each, 0))
                for name, mark in each.items():
                    place[name] += mark
        order = [*(student.name for student in self._students), *own]
        return {name: merged[name] for name in dict.fromkeys(order) if name in merged}

    @contextmanager
    def writing(self, target: Path) -> Generator[Path]:
        with super().writing(target) if self.first else nullcontext(target) as own:
            temporary = Path(self.from_first(lambda: str(own)))
            yield temporary
            self.wait("the parts of a checkpoint")
            if self.first and (temporary / "parts").exists():
                seal_parts(temporary / "parts")
        self.wait("a checkpoint")

    def write_parts(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        with self._at("the parts of a checkpoint"):
            write_parts(folder, {name: own for name, own in tensors.items() if self.place == 0 or is_cut(own)})

    def whole(self, students: Sequence[Student]) -> None:
        for s in self._sharded:
            put_together(students[s], keep=self.exports(s))
        self._sharded = []
        for s, student in enumerate(students):
            if self.exports(s):  # transformers lets the first process alone save, which has not every student here
                student.core.should_save_on_this_rank = lambda is_main_process: is_main_process

    def wait(self, what: str) -> None:
        with self._at(what):
            dist.barrier()

    # --- below --------------------------------------------------------------------------------------------

    def _all(self, own: T, what: str) -> list[T]:
        every: list[Any] = [None] * self._world.size
        with self._at(what):
            dist.all_gather_object(every, own)
        return every

    def _at(self, what: str) -> AbstractContextManager[None]:
        return self._world.watch.at(what)


def _drops(student: Student) -> bool:
    """Whether training draws dropout anywhere in it."""
    ours = any(isinstance(one, torch.nn.Dropout) and one.p > 0 for one in student.model.modules())
    return not student.config.frozen and (ours or bool(getattr(student.core.config, "attention_dropout", 0)))
