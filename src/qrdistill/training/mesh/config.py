from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from qrdistill.base.settings import Settings, ShapesNothing

Size = Annotated[int, Field(gt=0)]


class MeshConfig(Settings):
    """How the processes of `torchrun` share the work; one process needs none of it."""

    students: ShapesNothing[Size | Literal["auto"]] = "auto"
    """Columns that the students are shared out to, each with one student or several; auto: as many as students and
    processes allow."""
    data: ShapesNothing[Size | Literal["auto"]] = "auto"
    """Processes of a column, which share each student's weights, optimizer and paths; auto: processes / columns."""
    cpu_offload: ShapesNothing[bool] = False
    """Keep weights, gradients and optimizer in the machine's memory, and only what is computed with on the GPU."""
    reshard_after_forward: ShapesNothing[bool] = True
    """Free a layer's gathered weights after its forward and gather them again for the backward: less memory, half
    as much again on the wire."""
    timeout: ShapesNothing[float] = Field(default=600.0, gt=0)
    """Seconds that processes wait for one another before the training stops and says who is missing."""
