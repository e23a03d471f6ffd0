"""The processes of one launch: joined once, counted, and asked for a store that outlives none of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from qrdistill.base.errors import InputError, TrainingError
from qrdistill.training.mesh.launch import Launch, launched
from qrdistill.training.mesh.watch import Watch

if TYPE_CHECKING:
    from torch.distributed import Store

_SLACK = 30.0  # seconds that a collective outlasts `timeout`: the watch speaks first


_worlds: list[World] = []  # of this process: one, until it leaves


@dataclass(frozen=True)
class World:
    """All processes of a launch. `store`: small texts by key, for who waits and who beats."""

    launch: Launch
    store: Store
    watch: Watch

    @property
    def rank(self) -> int:
        return self.launch.rank

    @property
    def size(self) -> int:
        return self.launch.world


def joined(timeout: float) -> World | None:
    """The world that this process was started into; None where it was started alone.

    Raises InputError where a process group exists that is not of the size that the environment names: each would
    train by itself.
    """
    launch = launched()
    if launch is None:
        return None
    return _join(launch, timeout)


@cache
def _join(launch: Launch, timeout: float) -> World:
    import torch
    import torch.distributed as dist

    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(launch.local_rank % torch.cuda.device_count())
    patience = timedelta(seconds=timeout + _SLACK)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        base = _store_of_group() if dist.is_initialized() else next(dist.rendezvous("env://", timeout=patience))[0]
        store = dist.PrefixStore(f"qrdistill/{attempt}", base)
        if not dist.is_initialized():
            if gpus:  # the flight recorder: what each GPU waited for
                os.environ.setdefault("TORCH_FR_BUFFER_SIZE", "2000")
                os.environ.setdefault("TORCH_NCCL_DUMP_ON_TIMEOUT", "1")
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if gpus else "gloo",
                store=dist.PrefixStore("group", store),
                rank=launch.rank,
                world_size=launch.world,
                timeout=patience,
            )
    except (RuntimeError, ValueError, OSError) as error:
        raise TrainingError(
            f"rank {launch.rank} of {launch.world} did not reach the others at {os.environ['MASTER_ADDR']}:"
            f"{os.environ['MASTER_PORT']} ({str(error).splitlines()[0]}); start all of them with one torchrun command"
        ) from error
    _check_size(launch)
    watch = Watch(store, launch.rank, launch.world, timeout)
    dist.barrier()  # every process beats from here on
    _worlds.append(world := World(launch, store, watch))
    return world


def _store_of_group() -> Store:
    """That of a group which somebody else has made (Ray Train, a script of the user's)."""
    from torch.distributed import distributed_c10d

    return distributed_c10d._get_default_store()  # pyright: ignore[reportPrivateUsage]


def leave() -> None:
    """Ends the process group, where there is one; another may be joined then."""
    import torch.distributed as dist

    while _worlds:
        _worlds.pop().watch.end()
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
    _join.cache_clear()


def _check_size(launch: Launch) -> None:
    import torch
    import torch.distributed as dist

    size, rank = dist.get_world_size(), dist.get_rank()
    if (size, rank) == (launch.world, launch.rank):
        ones = torch.ones(1)
        dist.all_reduce(ones)
        size = int(ones.item())
    if (size, rank) != (launch.world, launch.rank):
        raise InputError(
            f"the environment says rank {launch.rank} of {launch.world} (RANK, WORLD_SIZE), the process group is rank "
            f"{rank} of {size}: the processes would train apart from one another; let qrdistill join them, or start "
            f"the group with {launch.world} processes"
        )
