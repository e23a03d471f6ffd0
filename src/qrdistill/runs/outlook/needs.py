"""What a training takes on this machine: memory by stage, disk, seconds; and what would fit where it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from qrdistill.base.device import memory_of, resolve_autocast, resolve_device
from qrdistill.cost.machine import Rates, rates, resident
from qrdistill.cost.memory import (
    Reading,
    answering,
    checkpoint_bytes,
    export_bytes,
    learning_together,
    loading,
    step_peak,
    weights,
)
from qrdistill.cost.shape import Shape, read_shape, with_form
from qrdistill.runs.outlook.estimate import CostRow
from qrdistill.runs.outlook.lengths import Lengths
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.head import MAX_LOGITS
from qrdistill.students.out_of_memory import activation_bytes, fits, free_memory
from qrdistill.training.config import TrainConfig

NOT_ON_GPUS = "memory, time and wire were never held against a run on a GPU; on CPUs memory was (docs/performance.md)"
_SEEN = "; short runs took 0.99 to 1.30 times what was said of train"
_NOTHING_FITS = "no setting fits: choose smaller models or fewer students"
_MANY_PASSES = 10  # from here on a training mostly repeats what its students know by heart
_EARLIER = 70 << 20  # of a run's process: what the stages before training leave (measured, see docs/performance.md)
_FEWEST_TOKENS = 512  # of a batch that is still proposed


@dataclass(frozen=True)
class Needs:
    """What a run's costly stages take here. Bytes; `stages` at their peak, the process itself included.

    passes: how often the pool is drawn from beginning to end. disk: checkpoints and exported students of all rounds.
    unknown: students whose files are not here; nothing is said of any then. mend: the settings under which a training
    fits that does not.
    """

    passes: float
    memory_here: int
    stages: dict[str, int] = field(default_factory=dict[str, int])
    checkpoint: int = 0
    exports: dict[str, int] = field(default_factory=dict[str, int])
    disk: int = 0
    disk_here: int = 0
    place: str = "machine"
    seconds: float | None = None
    basis: str = ""
    unknown: list[str] = field(default_factory=list[str])
    mend: str = ""

    def warning(self, steps: int) -> str | None:
        if self.passes <= _MANY_PASSES:
            return None
        fewer = max(1, int(steps * _MANY_PASSES / self.passes))
        return (
            f"{self.passes:,.0f} passes over the pool: after about ten students learn it by heart; lower train.steps "
            f"(ten passes: {fewer}), or ask for more questions and paths"
        )

    @property
    def problem(self) -> str:
        """Why it cannot go well, with the mend; empty where it may."""
        peak = max(self.stages.values(), default=0)
        if peak > self.memory_here > 0:
            return (
                f"training needs {size(peak)} of memory at its peak, the {self.place} has {size(self.memory_here)}; "
                f"{self.mend}"
            )
        if self.disk > self.disk_here:
            return (
                f"checkpoints and exported students need about {size(self.disk)} of disk, {size(self.disk_here)} are "
                "free; make room, lower train.keep_last, or give the students lora"
            )
        return ""

    def lines(self) -> list[str]:
        text = f"{self.passes:,.1f} passes over the pool; "
        if self.unknown:
            names = ", ".join(self.unknown)
            return [f"{text}time and memory unknown: not on this machine, or with code of their own: {names}"]
        if not self.stages:
            return [f"{text}nothing is trained"]
        parts = ", ".join(f"{stage} {size(peak)}" for stage, peak in self.stages.items())
        exports = ", ".join(f"{name} {size(bytes)}" for name, bytes in self.exports.items())
        time = "time unknown"
        if self.seconds is not None:  # a first step also waits for the pages that gradients and optimizer are put into
            time = f"about {duration(self.seconds)} of training, more where it is a few steps ({self.basis})"
        lines = [
            f"{text}{time}",
            f"memory at its peak: {parts}, of {size(self.memory_here)} ({self.place}){_SEEN if self.place != 'GPU' else ''}",
            f"disk: a checkpoint {size(self.checkpoint)}; exported {exports}; in all at most {size(self.disk)} of "
            f"{size(self.disk_here)} free",
        ]
        return [*lines, f"not measured: {NOT_ON_GPUS}"] if self.place == "GPU" else lines


def size(count: float) -> str:
    """Bytes for a person: 1.5 GiB, 20 MiB."""
    if count < 1 << 20:
        return f"{count / 1024:.0f} KiB"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 // 10 else f"{count / 2**20:.0f} MiB"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:,.0f} minutes" if seconds < 7200 else f"{seconds / 3600:,.1f} hours"


def training_needs(
    students: Sequence[StudentConfig],
    config: TrainConfig,
    rows: Sequence[CostRow],
    lengths: Sequence[Lengths],
    *,
    num_paths: int,
    base_dir: Path,
    answers: tuple[int, int] = (64, 160),
    memory: int | None = None,
    timed: bool = True,
) -> Needs:
    """By the model of `cost`: rows and lengths in the order of `students`; answers: of one batch, and tokens of one.
    memory: bytes that may be used; None: this machine's, or its GPU's."""
    device = resolve_device(config.device)
    steps, gpu = config.num_steps, device.type == "cuda"
    passes = steps * min(config.paths_per_step, num_paths) / num_paths if num_paths else 0.0
    here = memory_of(device) if memory is None else memory
    place = "GPU" if gpu else "machine"
    found = [read_shape(student, base_dir) for student in students]
    shapes = [shape for shape in found if shape is not None]
    unknown = [student.name for student, shape in zip(students, found, strict=True) if shape is None]
    if unknown or not steps:
        return Needs(passes, here, place=place, unknown=unknown)
    longest = max(round(length.prompt) for length in lengths) + answers[1]
    evaluating = max(answering(shape, prompts=answers[0], length=longest, gpu=gpu) for shape in shapes)
    training = _peak(shapes, config, rows, lengths)
    own = 0 if gpu else resident() + _EARLIER  # now that all is imported that a step needs
    stages = {"train": own + training, "evaluate": own + evaluating}
    needs = Needs(
        passes,
        here,
        stages=stages
        if gpu
        else {"load": own + loading(shapes, [round(length.longest) for length in lengths]), **stages},
        checkpoint=checkpoint_bytes(shapes),
        exports={shape.student.name: export_bytes(shape) for shape in shapes},
        place=place,
    )
    if needs.problem:
        return replace(needs, mend=_mend(shapes, config, rows, lengths, here - own))
    if not timed:
        return needs
    seconds, basis = _seconds(shapes, config, rows, lengths)
    return replace(needs, seconds=seconds, basis=basis)


def _reading(shape: Shape, config: TrainConfig, row: CostRow, length: Lengths) -> Reading:
    """What a student reads in its fullest forward: of a step, at most the limit."""
    device = resolve_device(config.device)
    per_step = (row.trained + row.measured) / max(1, config.num_steps)
    paths = per_step / max(1.0, length.whole)
    tokens = min(per_step + 2 * length.spread * paths**0.5, config.max_tokens_per_batch)
    return Reading(
        tokens=max(1, round(tokens)),
        labels=max(1, round(tokens * length.path / max(1.0, length.whole))),
        length=max(1, round(length.whole)),
        autocast=resolve_autocast(config.autocast, device),
        checkpointing=config.gradient_checkpointing is True,
        gpu=device.type == "cuda",
    )


def _peak(shapes: Sequence[Shape], config: TrainConfig, rows: Sequence[CostRow], lengths: Sequence[Lengths]) -> int:
    config = config.model_copy(update={"gradient_checkpointing": _recomputes(shapes, config)})
    per_step = sum(row.trained + row.measured for row in rows) / max(1, config.num_steps)
    passes = 1 if per_step <= config.max_tokens_per_batch else math.ceil(per_step / config.max_tokens_per_batch)
    reads = [_reading(shape, config, row, length) for shape, row, length in zip(shapes, rows, lengths, strict=True)]
    return step_peak(learning_together(shapes, reads), passes=passes)


def _recomputes(shapes: Sequence[Shape], config: TrainConfig) -> bool:
    """As `assemble` will decide."""
    if config.gradient_checkpointing != "auto":
        return config.gradient_checkpointing
    learn = [shape for shape in shapes if not shape.student.frozen]
    return bool(learn) and not fits(
        free_memory(resolve_device(config.device)),
        weights_that_train=sum(shape.counts.trained for shape in learn),
        activations=max(activation_bytes(shape.text_config, config.max_tokens_per_batch) for shape in learn),
    )


def _seconds(
    shapes: Sequence[Shape], config: TrainConfig, rows: Sequence[CostRow], lengths: Sequence[Lengths]
) -> tuple[float, str]:
    device, total, basis = resolve_device(config.device), 0.0, ""
    recompute = _recomputes(shapes, config)
    for shape, row, length in zip(shapes, rows, lengths, strict=True):
        read = _reading(shape, config, row, length)
        rate = rates(shape, tokens=read.tokens, length=read.length, device=device, autocast=read.autocast)
        total += seconds_of(
            shape, rate, row, length, recompute=recompute, chunked=read.labels * shape.counts.rows > MAX_LOGITS
        )
        total += config.num_steps * shape.counts.trained * rate.update
        basis = rate.basis
    counted = "; ".join(dict.fromkeys(length.basis for length in lengths))
    return total, f"{basis}; tokens: {counted}"


def seconds_of(shape: Shape, rate: Rates, row: CostRow, length: Lengths, *, recompute: bool, chunked: bool) -> float:
    """Seconds of all forwards and backwards of a row's tokens."""
    share = length.path / max(1.0, length.whole)
    layer = rate.layer + (rate.layer_forward if recompute else 0.0)
    head = rate.head + (rate.head_forward if chunked else 0.0)
    trained = row.trained * (shape.layers * layer + share * shape.counts.rows * head)
    return trained + row.measured * (shape.layers * rate.layer_forward + share * shape.counts.rows * rate.head_forward)


def _mend(
    shapes: Sequence[Shape],
    config: TrainConfig,
    rows: Sequence[CostRow],
    lengths: Sequence[Lengths],
    room: int,
) -> str:
    """The least change of settings that fits, tried one after the other, each on top of those before."""
    gpu = resolve_device(config.device).type == "cuda"
    least = [with_form(each, lora=each.student.lora or LoraSettings(), quantize="nf4") for each in shapes]
    if sum(weights(each, gpu=gpu) for each in least) > room:
        return _NOTHING_FITS
    said: list[str] = []
    if not _recomputes(shapes, config):
        config = config.model_copy(update={"gradient_checkpointing": True})
        said.append("train.gradient_checkpointing: true")
        if _peak(shapes, config, rows, lengths) <= room:
            return _setting(said)
    tokens = config.max_tokens_per_batch
    while tokens // 2 >= _FEWEST_TOKENS:
        tokens //= 2
        config = config.model_copy(update={"max_tokens_per_batch": tokens})
        if _peak(shapes, config, rows, lengths) <= room:
            return _setting([*said, f"train.max_tokens_per_batch: {tokens}"])
    said.append(f"train.max_tokens_per_batch: {config.max_tokens_per_batch}")
    for form, words in (({}, "lora: {} for every student"), ({"quantize": "nf4"}, "quantize: nf4 for every student")):
        shapes = [with_form(each, lora=each.student.lora or LoraSettings(), **form) for each in shapes]
        said.append(words)
        if _peak(shapes, config, rows, lengths) <= room:
            return _setting(said)
    return _NOTHING_FITS


def _setting(said: Sequence[str]) -> str:
    return f"it fits with {' and '.join(said)}"
