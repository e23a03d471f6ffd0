"""Where models run: the one place that turns a config's `device` into torch's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qrdistill.base.errors import ConfigError

if TYPE_CHECKING:
    import torch


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
