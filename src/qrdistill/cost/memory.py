"""Bytes that students take while they learn, answer and are written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from qrdistill.cost.rehearsal import rehearse
from qrdistill.cost.shape import Shape, weight_bytes, with_form

_PROOF = 4 * 3  # bytes a word and token: the logits, those of the labels, and their softmax


@dataclass(frozen=True)
class Reading:
    """What one student reads in a forward: tokens, labels among them, tokens of one path; and how it is computed."""

    tokens: int
    labels: int
    length: int
    autocast: str = "none"
    checkpointing: bool = False
    gpu: bool = False
    gathered: bool = False  # weights are put together in bfloat16 for each forward


@dataclass(frozen=True)
class Held:
    """Bytes of one student that learns. See `rehearsal.Rehearsal` for the last four; tail: a second gradient of the
    embedding, before it is added to the first."""

    weights: int
    gradients: int
    optimizer: int
    kept: int
    loss: int
    head: int
    layer: int
    tail: int = 0


def weights(shape: Shape, *, gpu: bool) -> int:
    """Bytes of a loaded student, adapters included."""
    size, counts = _size(shape, gpu), shape.counts
    adapters = 4 * counts.trained if shape.student.lora is not None and not shape.student.frozen else 0
    if shape.student.quantize is None:
        return size * counts.parameters + adapters
    return _nf4(counts.linear, counts.matrices) + size * (counts.parameters - counts.linear) + adapters


def _brought(shapes: Sequence[Shape], *, gpu: bool) -> list[int]:
    """Bytes of each student's base that one before it has brought: those that leave it as it is read one copy."""
    seen: set[tuple[object, ...]] = set()
    brought: list[int] = []
    for shape in shapes:
        student = shape.student
        base, fixed = (student.model, student.quantize, student.dtype), student.frozen or student.lora is not None
        brought.append(weights(with_form(shape, lora=None, frozen=True), gpu=gpu) if fixed and base in seen else 0)
        seen |= {base} if fixed else set()
    return brought


def loading(shapes: Sequence[Shape], longest: Sequence[int] | None = None) -> int:
    """The most bytes of main memory while one student after the other is loaded from its mapped file, and proves on the
    longest path (of so many tokens) that packing changes nothing: its own code makes logits of every token."""
    held = peak = 0
    for shape, brought in zip(shapes, _brought(shapes, gpu=False), strict=True):
        counts, own = shape.counts, weights(shape, gpu=False) - brought
        read = 0 if shape.student.quantize is None and weight_bytes(shape.files) == _size(shape, gpu=False) else 1
        read = read * weight_bytes(shape.files) * (counts.linear if shape.student.quantize else counts.parameters)
        peak = max(peak, held + own + (0 if brought else read))
        held += own
    proofs = [_PROOF * shape.counts.rows * tokens for shape, tokens in zip(shapes, longest or (), strict=False)]
    return max(peak, held + max(proofs, default=0))


def _size(shape: Shape, gpu: bool) -> int:
    student = shape.student
    if student.dtype != "auto":
        return weight_bytes(student.dtype)
    return 2 if gpu and (student.frozen or student.lora is not None or student.quantize is not None) else 4


def _nf4(numbers: int, matrices: int) -> int:
    """Half a byte a number, a scale in 8 bits for 64 of them, a scale of these in 32 bits for 256; and two tables."""
    return numbers // 2 + numbers // 64 + numbers // 4096 + matrices * 4 * (16 + 256)


def learning(shape: Shape, read: Reading) -> Held:
    """What a student holds in a step that reads this."""
    counts, student = shape.counts, shape.student
    size = 4 if student.lora is not None else _size(shape, read.gpu)
    run = rehearse(
        shape,
        tokens=max(1, read.tokens),
        labels=max(1, min(read.labels, read.tokens)),
        length=max(1, read.length),
        autocast=read.autocast,
        checkpointing=read.checkpointing,
        kernel=read.gpu,
        half=read.gathered or _size(shape, read.gpu) == 2,
    )
    work = _size(shape, read.gpu) * counts.largest if student.quantize else 0  # one matrix in full precision at a time
    every = counts.trained == counts.parameters
    return Held(
        weights=weights(shape, gpu=read.gpu),
        gradients=size * counts.trained,
        optimizer=2 * counts.trained if student.optimizer == "adamw_8bit" else 2 * size * counts.trained,
        kept=run.kept,
        loss=run.loss,
        head=run.head,
        layer=run.layer + 2 * work,
        tail=size * counts.embedding if every else 0,
    )


def learning_together(shapes: Sequence[Shape], reads: Sequence[Reading]) -> list[Held]:
    """`learning` of each; a base that several leave as it is counts once."""
    held = [learning(shape, read) for shape, read in zip(shapes, reads, strict=True)]
    brought = _brought(shapes, gpu=any(read.gpu for read in reads))
    return [replace(each, weights=each.weights - less) for each, less in zip(held, brought, strict=True)]


def step_peak(held: Sequence[Held], *, passes: int = 1) -> int:
    """Highest bytes of a training step of students that are in memory together, the framework not counted.

    passes: micro-batches of a step. In one, all students' activations are held at once and gradients grow as they
    are freed; of several, the last finds the gradients of those before.
    """
    fixed = sum(each.weights + each.optimizer for each in held)
    gradients = sum(each.gradients for each in held)
    end = gradients + max((max(each.layer, each.tail) for each in held), default=0)
    if passes <= 1:
        kept = sum(each.kept + each.loss for each in held) + max((each.head - each.loss for each in held), default=0)
        return fixed + max(kept, end)
    return fixed + gradients + max((each.kept + max(each.head, each.layer, each.tail) for each in held), default=0)


def answering(shape: Shape, *, prompts: int, length: int, gpu: bool) -> int:
    """Bytes of a student that writes `prompts` answers at once, of up to `length` tokens with their prompts."""
    text = shape.text_config
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    size = _size(shape, gpu)
    cache = 2 * shape.layers * heads * width * prompts * length * size
    return weights(shape, gpu=gpu) + 2 * cache + 3 * 4 * prompts * shape.counts.rows  # a cache grows by copying


def checkpoint_bytes(shapes: Sequence[Shape]) -> int:
    """Of one checkpoint, without what methods add: weights that train, AdamW's two means of each, its step counts."""
    total = 0
    for shape in shapes:
        counts, student = shape.counts, shape.student
        size = 4 if student.lora is not None else _size(shape, gpu=False)
        state = 2 if student.optimizer == "adamw_8bit" else 2 * size
        total += counts.trained * (size + state) + 4 * counts.tensors
    return total


def export_bytes(shape: Shape) -> int:
    """Of an exported folder: adapters, or all weights in the type of their source; its tokenizer's files."""
    if shape.student.lora is not None and not shape.student.frozen:
        return 4 * shape.counts.trained + shape.tokenizer
    return weight_bytes(shape.files) * shape.counts.parameters + shape.tokenizer
