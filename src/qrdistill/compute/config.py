from __future__ import annotations

from typing import Literal

from pydantic import Field

from qrdistill.base.settings import Settings, ShapesNothing


class ComputeConfig(Settings):
    """Where the work is done. It shapes nothing that comes out: another place recomputes nothing."""

    kind: ShapesNothing[Literal["local", "ray"]] = "local"
    """In this process (`local`), or on the workers of a Ray cluster (`ray`)."""
    address: ShapesNothing[str | None] = None
    """The cluster: `auto` (the one that this machine belongs to), `HOST:PORT` of its head; null: one of this machine
    alone, which ends with the command."""
    cpus: ShapesNothing[float] = Field(default=1, gt=0)
    """CPUs that Ray sets aside for each task, run of a study or training process."""
    gpus: ShapesNothing[float] = Field(default=0, ge=0)
    """GPUs that Ray sets aside for each task that embeds or decodes, each run of a study and each training process."""
    processes: ShapesNothing[int] = Field(default=1, gt=0)
    """Processes that Ray Train starts for a training; they share it as `train.mesh` says."""
