"""Telling memory that ran out from every other failure of torch."""

from __future__ import annotations

import torch

_SAID = ("out of memory", "not enough memory", "allocate memory")  # by torch's allocators, on GPU and CPU


def ran_out(error: BaseException) -> bool:
    """Whether this is memory: "an illegal memory access", for one, is a fault and no lack of it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error).lower() for said in _SAID)
