"""Memory: telling that it ran out from every other failure of torch, seeing beforehand that it would, and handing back
what loading a student leaves behind."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

_MAPS = Path("/proc/self/maps")  # Linux
_SAID = ("out of memory", "not enough memory", "allocate memory")  # by torch's allocators, on GPU and CPU


_STATE = 12  # bytes beside each weight that trains: its gradient, and AdamW's two means
_FILLED = 0.8  # share of the free memory that may be planned with


def free_memory(device: torch.device) -> int:
    """Bytes that could be taken now; on a CPU what the system calls available, where it says so."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            said = dict(line.split(":", 1) for line in file)
        return 1024 * int(said["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def activation_bytes(config: Any, num_tokens: int, *, size: int = 4) -> int:
    """Bytes that a forward of so many tokens keeps for backward, about: what a layer's norms, rotations, attention and
    products read, `size` bytes a number. config: the text model's."""
    heads = getattr(config, "num_attention_heads", 1)
    wide = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    return size * num_tokens * config.num_hidden_layers * (16 * config.hidden_size + 16 * wide + 5 * inner)


def fits(free: int, *, weights_that_train: int, activations: int) -> bool:
    """Whether a training step leaves some of the free memory.

    >>> fits(10_000, weights_that_train=100, activations=6_000), fits(10_000, weights_that_train=100, activations=7_000)
    (True, False)
    """
    return _STATE * weights_that_train + activations <= _FILLED * free


def ran_out(error: BaseException) -> bool:
    """Whether this is memory: "an illegal memory access", for one, is a fault and no lack of it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error).lower() for said in _SAID)


@contextmanager
def nothing_twice() -> Generator[None]:
    """Around the loading of a model: what was read of its files to be made anew does not stay beside it.

    safetensors maps a file and gives out views of it. What is put into four bits or another type leaves the pages that
    it was made from in memory, for as long as anything else of the file (an embedding, say) is used as it is. They are
    let go here, before anything is written to a weight; who needs one again finds it in the file.
    """
    before = mapped_files()
    yield
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):  # another C library than glibc
        library = ctypes.CDLL("libc.so.6")
        for start, end in set(mapped_files()) - set(before):
            library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)
        library.malloc_trim(0)


def mapped_files() -> list[tuple[int, int]]:
    """Where files of weights stand in this process's memory: first address, and that after the last."""
    with suppress(OSError):
        lines = [line.split() for line in _MAPS.read_text().splitlines() if line.endswith(".safetensors")]
        bounds = [line[0].split("-") for line in lines]
        return [(int(start, 16), int(end, 16)) for start, end in bounds]
    return []
