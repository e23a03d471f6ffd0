"""Proof by trial that batching changes no loss: packed, else padded, else one path at a time.

Tensor suffix: B paths.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from qrdistill.base.errors import ModelError
from qrdistill.students.student import Student
from qrdistill.students.tokens import Encoded

Way = Literal["packed", "padded", "alone"]

_WINDOWS = frozenset(
    {"sliding_window", "window_size", "attention_window_size", "keep_window_size", "attention_chunk_size"}
)
_WINDOW = 3  # what windows and chunks are shrunk to, shorter than every probe
_ROPE = 7  # the same of the length from which longrope turns: between the probes' lengths
_UNREACHED = (TypeError, AttributeError, ValueError, RuntimeError, KeyError, IndexError)  # a plan that a family refuses


@torch.no_grad()
def prove(student: Student, name: str) -> Way:
    """Sets the fastest way of batching that changes no loss: packed (attention function `name`), padded by the
    family's own code, or one path at a time; and says which.

    Each of four short paths, two with a shared beginning, must get the NLL in one batch that the family's own
    forward gives it alone (relative tolerance 1e-3; 5e-2 for weights in half precision or four bits), and none may
    change when the first path's response does. Where the config has windows, chunks or a longrope, all of it is
    tried once more with these shrunk below the paths' lengths: what a long path would meet, met by short ones.

    Raises ModelError for a model that reads ahead: its loss would be of a text that it has seen.
    """
    student.rope_limit = _rope_limit(student)
    set_way(student, "alone", name)
    with _evaluating(student):
        _check_causal(student)
        paths = _probe_paths(student.num_rows)
        for way in _ways(student):
            if _exact(student, way, name, paths) and _exact_shrunk(student, way, name, paths):
                return set_way(student, way, name)
    return set_way(student, "alone", name)


@torch.no_grad()
def prove_at_length(student: Student, paths: Sequence[Encoded]) -> str | None:
    """The same for the pool's own paths (its longest and a short one), with nothing shrunk; a warning where the
    student has to change to a slower way."""
    before: Way = "packed" if student.packed else "alone" if student.alone else "padded"
    if before == "alone" or len(paths) < 2:
        return None
    name = str(student.core.config._attn_implementation)  # ours, where batches are packed
    with _evaluating(student):
        ways = _ways(student)
        for way in ways[ways.index(before) :]:
            if _exact(student, way, name, paths):
                break
        else:
            way = "alone"
    set_way(student, way, name)
    if way == before:
        return None
    longest = max(path.num_tokens for path in paths)
    return (
        f"student {student.name}: at {longest} tokens its {before} batches change losses; they are {way} from here on, "
        "which costs time and changes no result"
    )


def set_way(student: Student, way: Way, name: str) -> Way:
    student.packed, student.alone = way == "packed", way == "alone"
    wanted = name if student.packed else student.own_attention
    if student.core.config._attn_implementation != wanted:
        student.core.set_attn_implementation(wanted)
    return way


def _ways(student: Student) -> list[Way]:
    packable = getattr(student.core, "_supports_attention_backend", False)
    return ["packed", "padded"] if packable else ["padded"]


@contextlib.contextmanager
def _evaluating(student: Student) -> Generator[None]:
    training = student.model.training
    student.model.eval()
    try:
        yield
    finally:
        student.model.train(training)


def _exact(student: Student, way: Way, name: str, paths: Sequence[Encoded]) -> bool:
    """Under autocast: without it first, where rounding hides nothing, and once more as training reads."""
    rounded, student.autocast_dtype = student.autocast_dtype, None
    try:
        if rounded is not None and not _agree(student, way, name, paths):
            return False
    finally:
        student.autocast_dtype = rounded
    return _agree(student, way, name, paths)


def _agree(student: Student, way: Way, name: str, paths: Sequence[Encoded]) -> bool:
    first = paths[0]
    shifted = ((token + 1) % student.num_rows for token in first.response_ids[:-1])
    # as long as it was: other lengths round otherwise in half precision, by half a percent of a real path's loss
    other = Encoded(first.prompt_ids, (*shifted, first.response_ids[-1]), [])
    set_way(student, "alone", name)
    alone_B = student.forward(paths).nll_B.double()
    try:
        set_way(student, way, name)
        together_B = student.forward(paths).nll_B.double()
        beside_B = student.forward([other, *paths[1:]]).nll_B.double()
    except torch.OutOfMemoryError:
        raise
    except _UNREACHED:
        return False
    dtype = next(iter(student.core.parameters())).dtype
    full = dtype == torch.float32 and student.autocast_dtype is None and not student.config.quantize
    return _close(together_B, alone_B, 1e-3 if full else 5e-2) and _close(beside_B[1:], together_B[1:], 1e-3)


def _close(left_B: Tensor, right_B: Tensor, tolerance: float) -> bool:
    return torch.allclose(left_B, right_B, rtol=tolerance, atol=1e-5)


def _exact_shrunk(student: Student, way: Way, name: str, paths: Sequence[Encoded]) -> bool:
    with _shrunk(student) as any_shrunk:
        return not any_shrunk or _exact(student, way, name, paths)


def _check_causal(student: Student) -> None:
    """The loss of the first token must not depend on the last one."""
    path = _probe_paths(student.num_rows)[2]
    *kept, last, end = path.response_ids
    other = Encoded(path.prompt_ids, (*kept, (last + 1) % student.num_rows, end), [])
    one, two = (student.forward([each]).token_nll[0][0].double() for each in (path, other))
    if not torch.allclose(one, two, rtol=1e-4, atol=1e-4):
        raise ModelError(
            f"student {student.name}: the model reads ahead (another last token changes the loss of the first), so it "
            "cannot write text from left to right; use a causal language model (a config with is_decoder: true)"
        )


@contextlib.contextmanager
def _shrunk(student: Student) -> Generator[bool]:
    """Windows, chunks and longrope's turning length below the probes' lengths, in configs and modules; put back after."""
    undo: list[Callable[[], None]] = []
    limit = student.rope_limit
    modules = list(student.core.modules())
    configs = {
        id(one): one for one in (student.core.config, *(getattr(each, "config", None) for each in modules)) if one
    }
    for holder in (*configs.values(), student.core.config.get_text_config(), *modules):
        for key, value in list(vars(holder).items()):
            if key in _WINDOWS and isinstance(value, int) and value > _WINDOW:
                undo.append(_set(holder, key, _WINDOW))
    if limit is not None:
        for config in configs.values():
            for rope in _ropes(config):
                undo.append(_set(rope, "original_max_position_embeddings", _ROPE))
        student.rope_limit = _ROPE
    try:
        yield bool(undo)
    finally:
        student.rope_limit = limit
        for put_back in reversed(undo):
            put_back()


def _set(holder: Any, key: str, value: int) -> Callable[[], None]:
    if isinstance(holder, dict):
        before = holder[key]
        holder[key] = value
        return lambda: holder.__setitem__(key, before)
    before = getattr(holder, key)
    setattr(holder, key, value)
    return lambda: setattr(holder, key, before)


def _ropes(config: Any) -> list[dict[str, Any]]:
    """The longrope settings of a config: one, or one per kind of layer."""
    rope: Any = getattr(config, "rope_parameters", None)
    if not isinstance(rope, dict):
        return []
    each = [rope, *(one for one in rope.values() if isinstance(one, dict))]
    return [one for one in each if one.get("rope_type") == "longrope" and one.get("original_max_position_embeddings")]


def _rope_limit(student: Student) -> int | None:
    """From how many tokens on positions are turned otherwise, for the whole batch: longrope."""
    ropes = _ropes(student.core.config.get_text_config())
    return min((rope["original_max_position_embeddings"] for rope in ropes), default=None)


def _probe_paths(rows: int) -> list[Encoded]:
    def ids(start: int, count: int) -> tuple[int, ...]:
        return tuple((start + 7 * at * at + at) % rows for at in range(count))

    return [
        Encoded(ids(3, 6), ids(11, 4), []),
        Encoded(ids(5, 3), ids(2, 7), []),
        Encoded((*ids(3, 5), 1 % rows), ids(13, 6), []),
        Encoded(ids(4, 4), ids(9, 2), []),
    ]
