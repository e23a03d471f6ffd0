"""Where models run: the one place that turns a config's `device` into torch's, and says what room there is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qrdistill.base.errors import ConfigError

if TYPE_CHECKING:
    import torch


Precision = Literal["none", "bfloat16", "float16"]


def resolve_autocast(wanted: Precision | Literal["auto"], device: torch.device) -> Precision:
    """The type of forward passes on this device: what is wanted, or what `auto` means there."""
    import torch

    gpu = device.type == "cuda"
    return autocast_for(wanted, gpu=gpu, bfloat16=gpu and torch.cuda.is_bf16_supported(including_emulation=False))


def autocast_for(wanted: Precision | Literal["auto"], *, gpu: bool, bfloat16: bool) -> Precision:
    """bfloat16 where a GPU computes in it, unless something else is wanted: then the fast attention kernels run.

    >>> autocast_for("auto", gpu=True, bfloat16=True), autocast_for("auto", gpu=True, bfloat16=False)
    ('bfloat16', 'none')
    >>> autocast_for("auto", gpu=False, bfloat16=True), autocast_for("float16", gpu=True, bfloat16=True)
    ('none', 'float16')
    """
    if wanted != "auto":
        return wanted
    return "bfloat16" if gpu and bfloat16 else "none"


def resolve_device(device: str, *, key: str = "train.device") -> torch.device:
    """`auto` is a CUDA GPU where there is one, else the CPU. Raises ConfigError, at `key`, for what is not here.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return torch.device("cuda" if gpus else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"{device!r} names no device; use auto, cpu, cuda or cuda:1", key=key) from None
    if place.type == "cuda" and (place.index or 0) >= gpus:
        raise ConfigError(f"{device!r} is not here ({gpus} CUDA devices are); use auto or cpu", key=key)
    return place


def memory_of(device: torch.device) -> int:
    """Bytes that this machine or its GPU has; 0 where the system does not say."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def free_disk(folder: Path) -> int:
    """Bytes free where a folder is, or will be."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
