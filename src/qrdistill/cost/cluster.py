"""Students on many GPUs: memory of one device, operations and bytes on the wire of one step, for a layout
(students, data).

`students` columns hold the students; within a column `data` processes share each student's weights, gradients and
optimizer (FSDP2: float32 masters, gathered in bfloat16 layer by layer, gradients reduced in float32) and read different
paths. What has no mesh of its own (adapters, frozen weights under `data` 1) is held whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qrdistill.cost.memory import Reading, learning
from qrdistill.cost.rehearsal import rehearse
from qrdistill.cost.shape import Shape

_USED = 0.92  # of a GPU's memory: the rest goes to its context, the allocator's gaps and what libraries keep
_REDUCED = 4  # bytes of a gradient's number on the wire


@dataclass(frozen=True)
class Layout:
    """A mesh of students x data processes; column: of each student, in the order of names."""

    students: int
    data: int
    column: tuple[int, ...]

    def __str__(self) -> str:
        return f"({self.students}, {self.data})"


def layouts(gpus: int, num_students: int) -> list[Layout]:
    """All that come out even, most columns first."""
    return [
        Layout(columns, gpus // columns, tuple(s * columns // num_students for s in range(num_students)))
        for columns in range(min(gpus, num_students), 0, -1)
        if gpus % columns == 0
    ]


@dataclass(frozen=True)
class Device:
    """Bytes on the fullest device, by what they are."""

    parameters: int
    gradients: int
    optimizer: int
    gathered: int  # layers of sharded weights that are put together to be computed with
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return sum((self.parameters, self.gradients, self.optimizer, self.gathered, self.activations, self.logits))


@dataclass(frozen=True)
class Settings:
    """Of a plan, as the config has them. share: of a step's tokens that each student reads (its own and what it only
    measures); paths: of a step."""

    tokens: int  # of one forward
    share: Sequence[float]  # tokens of one step, per student
    labels: float  # share of the tokens that are predicted
    length: int
    paths: int
    checkpointing: bool
    offload: bool = False
    reshard: bool = True
    number: int = 2  # bytes of a gathered weight: bfloat16 where train.autocast is that, else 4
    compared: bool = False  # mutual distillation: paths that students compare are read in forwards of their own


def device_memory(shapes: Sequence[Shape], layout: Layout, settings: Settings) -> Device:
    """Of the fullest column: students of one column are there together, one of them computes at a time."""
    return max((_column(shapes, layout, settings, column) for column in range(layout.students)), key=lambda d: d.total)


def _column(shapes: Sequence[Shape], layout: Layout, settings: Settings, column: int) -> Device:
    parameters = gradients = optimizer = gathered = activations = logits = 0
    for shape, tokens, own in zip(shapes, settings.share, layout.column, strict=True):
        if own != column:
            continue
        sharded = is_sharded(shape, layout)
        here = max(1, min(settings.tokens, math.ceil(tokens / layout.data)))
        read = Reading(
            here,
            max(1, round(here * settings.labels)),
            settings.length,
            "bfloat16",
            settings.checkpointing,
            True,
            sharded,
        )
        held = learning(shape, read)
        shards = layout.data if sharded else 1
        parameters += held.weights // shards
        gradients += held.gradients // shards
        optimizer += held.optimizer // shards
        if sharded:
            counts = shape.counts
            layers = 2 if settings.reshard else shape.layers  # the one that computes, and the next
            outside = counts.parameters - shape.layers * counts.per_layer
            unsharded_gradient = _REDUCED * max(counts.per_layer, outside)
            gathered = max(gathered, settings.number * (layers * counts.per_layer + outside) + unsharded_gradient)
        if held.kept + max(held.head, held.layer) > activations + logits:
            activations, logits = held.kept, max(held.head, held.layer)
    if settings.offload:
        parameters = gradients = optimizer = 0
    return Device(parameters, gradients, optimizer, gathered, activations, logits)


def is_sharded(shape: Shape, layout: Layout) -> bool:
    """Whether its weights are dealt out: where several processes train all of them, or adapters on plain weights."""
    return layout.data > 1 and shape.student.quantize is None and shape.student.optimizer == "adamw"


def fits_in(device: Device, memory: int) -> bool:
    return device.total <= _USED * memory


def operations(shape: Shape, settings: Settings, tokens: float) -> float:
    """Floating-point operations of a forward and backward of so many tokens."""
    whole = max(1, round(min(settings.tokens, tokens)))
    run = rehearse(
        shape,
        tokens=whole,
        labels=max(1, round(whole * settings.labels)),
        length=settings.length,
        autocast="bfloat16",
        kernel=True,
        half=True,
    )
    again = run.forward if settings.checkpointing else 0
    return (run.forward + run.backward + again) * tokens / whole


def wire_bytes(
    shape: Shape, layout: Layout, settings: Settings, tokens: float, num_students: int, *, backend: str = "nccl"
) -> int:
    """Bytes that one device sends in a step for one student that learns from `tokens` of its tokens.

    Weights are gathered for each forward and again for its backward, gradients are reduced and scattered; what is not
    sharded is added up once a step. Then what all devices agree on: gates, losses, counts. backend: gloo has no
    scattering reduction, and adds up whole gradients.
    """
    counts, data, paths = shape.counts, layout.data, settings.paths
    if layout.students * data == 1:
        return 0
    everyone = 4 * paths * (2 * num_students + 1) + 2 * 8 * num_students * (2 * paths + 1)
    if data == 1:
        return everyone
    ring = (data - 1) / data
    if not is_sharded(shape, layout):
        return round(2 * ring * _REDUCED * counts.trained) + everyone
    passes = max(1, math.ceil(tokens / data / settings.tokens)) + settings.compared
    gathers = (2 if settings.reshard else 1) * passes
    whole = counts.parameters + (counts.trained if counts.trained < counts.parameters else 0)
    reductions = (2 if backend == "gloo" else 1) * passes
    return round(ring * (gathers * settings.number * whole + reductions * _REDUCED * counts.trained)) + everyone
