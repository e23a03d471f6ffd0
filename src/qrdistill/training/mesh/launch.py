"""Whether this process is one of several that were started together (`torchrun`), by its environment alone.

No torch here: a command asks it before anything is imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from qrdistill.base.errors import InputError

_NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """One process of `world`; `local_rank` counts within its machine."""

    rank: int
    world: int
    local_rank: int

    @property
    def first(self) -> bool:
        return self.rank == 0


def launched(environment: Mapping[str, str] | None = None) -> Launch | None:
    """None for a process that works alone. Raises InputError where only a part of a launch is there.

    >>> launched({"WORLD_SIZE": "1", "RANK": "0"}) is None
    True
    >>> launched({"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"})
    Launch(rank=1, world=2, local_rank=1)
    """
    given = os.environ if environment is None else environment
    world = _number(given, "WORLD_SIZE", 1)
    if world <= 1:
        return None
    if lacking := [name for name in _NEEDED if not given.get(name)]:
        raise InputError(
            f"WORLD_SIZE is {world}, but {', '.join(lacking)} is not set: start all {world} processes with torchrun "
            "(torchrun --nproc-per-node N -m qrdistill train CONFIG), or unset WORLD_SIZE to work in one process"
        )
    rank = _number(given, "RANK", 0)
    return Launch(rank, world, _number(given, "LOCAL_RANK", rank))


def _number(given: Mapping[str, str], name: str, otherwise: int) -> int:
    text = given.get(name, "").strip()
    if not text:
        return otherwise
    if not text.isdigit():
        raise InputError(f"the environment's {name} is {text!r}, not a number; start with torchrun, or unset it")
    return int(text)


_TOGETHER = ("run", "generate", "filter", "train", "evaluate", "report")  # commands that several processes share


def check_command(command: str | None) -> None:
    """Raises InputError for a command that each of several processes would do as a whole."""
    if command not in _TOGETHER and (launch := launched()):
        raise InputError(
            f"`qrdistill {command}` works in one process, and {launch.world} were started (WORLD_SIZE): each would do "
            f"all of it; start it without torchrun. Together work: {', '.join(_TOGETHER)}"
        )


def speaks(message: str) -> bool:
    """Whether this process says it: what all processes of a machine find, one of them says."""
    try:
        launch = launched()
    except InputError:
        return True
    return launch is None or not launch.local_rank or "rank " in message
