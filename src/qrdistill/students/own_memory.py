"""What loading leaves behind: weights that hold a whole file in memory, and freed memory that is not handed back."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_MAPS = Path("/proc/self/maps")  # Linux
_WORTH = 0.9  # share of a file that its weights must fill for them to stay where they are


def settle(model: Any) -> None:
    """Copies weights out of a file that is mostly not theirs, and hands freed memory back to the system.

    safetensors maps a file and gives out views of it. Where all weights are used as they are, these are the weights
    and nothing is there twice; where most were made anew (in four bits, in another type), the few that were not hold
    the whole file in memory.
    """
    if sys.platform != "linux":
        return
    for start, end in mapped_files():
        inside = [one for one in (*model.parameters(), *model.buffers()) if start <= one.data_ptr() < end]
        if sum({one.data_ptr(): one.nbytes for one in inside}.values()) < _WORTH * (end - start):
            for one in inside:
                one.data = one.detach().clone()
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def mapped_files() -> list[tuple[int, int]]:
    """Where files of weights stand in this process's memory: first address, and that after the last."""
    with suppress(OSError):
        lines = [line.split() for line in _MAPS.read_text().splitlines() if line.endswith(".safetensors")]
        bounds = [line[0].split("-") for line in lines]
        return [(int(start, 16), int(end, 16)) for start, end in bounds]
    return []
