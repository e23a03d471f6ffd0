"""A forward and backward with tensors that have shapes and no numbers: the bytes that they keep, the operations.

What runs is the student's own code, so that whatever changes there (the head, checkpointing, a kernel) is counted as
it is. Depths of one and two layers tell of any depth. Legend: T tokens, N labels.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from qrdistill.cost.shape import Shape
from qrdistill.students.attention import Plan, Rules, Segment, lowered
from qrdistill.students.head import fused_bytes, head_of, is_fused, label_nll


@dataclass(frozen=True)
class Rehearsal:
    """One forward and backward of `tokens` tokens with `labels` labels; bytes and floating-point operations.

    kept: activations from forward to backward. loss: what the head's losses keep beside them. head: what comes on top
    of `kept` at most while these and their gradients are computed, the head's own gradient included. layer: the same of
    one layer's backward, without gradients of weights.
    """

    kept: int
    loss: int
    head: int
    layer: int
    forward: int
    backward: int


class Live(TorchDispatchMode):
    """Bytes of all storages that were made under it and are still held."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            if isinstance(made, Tensor):
                self.enter(made)
        return result

    def held(self) -> int:
        """Bytes that somebody still needs: tensors without numbers are held in circles that real ones are not."""
        gc.collect()
        return self.bytes

    def enter(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        place, size = _identity(storage), storage.nbytes()
        if place in self._known:
            return

        def gone(_: object) -> None:
            self.bytes -= size
            self._known.pop(place, None)

        self._known[place] = weakref.ref(storage, gone)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)

    def ignore(self, tensor: Tensor) -> None:
        """A weight: counted elsewhere."""
        storage = tensor.untyped_storage()
        self._known[_identity(storage)] = weakref.ref(storage)


@contextmanager
def _collected_when_asked() -> Generator[None]:
    """Garbage is collected by `Live.held` alone: a peak does not depend on when Python would have done so."""
    was = gc.isenabled()
    gc.disable()
    gc.freeze()  # what is there already is not gone through each time
    try:
        yield
    finally:
        gc.unfreeze()
        if was:
            gc.enable()


def _identity(storage: torch.UntypedStorage) -> int:
    """Fake tensors have no address, their storages are objects all the same."""
    return storage._cdata  # pyright: ignore[reportPrivateUsage]


@lru_cache(maxsize=64)
def rehearse(
    shape: Shape,
    *,
    tokens: int,
    labels: int,
    length: int,
    autocast: str = "none",
    checkpointing: bool = False,
    kernel: bool = False,
    half: bool = False,
) -> Rehearsal:
    """What a forward of `tokens` tokens in paths of about `length`, `labels` of them predicted, and its backward take.

    kernel: attention by a kernel that reads grouped keys as they are (on a GPU), not repeated for all heads. half:
    weights are in bfloat16 already (gathered so, or loaded so), adapters apart; else autocast keeps copies of them.
    """
    one, two = (_run(shape, depth, tokens, labels, length, autocast, checkpointing, kernel, half) for depth in (1, 2))
    more = shape.layers - 1
    return Rehearsal(
        kept=one.kept + more * (two.kept - one.kept),
        loss=two.loss,
        head=two.head,
        layer=two.layer,
        forward=one.forward + more * (two.forward - one.forward),
        backward=one.backward + more * (two.backward - one.backward),
    )


def _run(
    shape: Shape,
    depth: int,
    tokens: int,
    labels: int,
    length: int,
    autocast: str,
    checkpointing: bool,
    kernel: bool,
    half: bool,
) -> Rehearsal:
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    from qrdistill.students.loading import recompute_activations

    model = shape.model(layers=depth)
    core = model.get_base_model() if hasattr(model, "peft_config") else model
    trains = not shape.student.frozen
    if checkpointing and trains:
        recompute_activations(model)
    model.train(trains)
    halved = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(autocast)
    head = head_of(core)
    fused = trains and is_fused(head, labels)  # it looks at numbers, of which there are none here
    live, counter = Live(), FlopCounterMode(display=False)
    with FakeTensorMode(), torch.set_grad_enabled(trains), torch.autocast("cpu", halved, enabled=halved is not None):
        _fill(model, half)
        for weight in (*model.parameters(), *model.buffers()):
            live.ignore(weight)
        lengths = _lengths(tokens, length)
        plan: Any = _Kernel(lengths) if kernel else _plan(lengths)
        given: dict[str, Any] = {
            "input_ids": torch.zeros(1, tokens, dtype=torch.long),
            "position_ids": torch.arange(tokens)[None] % max(lengths),
            "attention_mask": torch.zeros(1, 1, 1, 1),
            "use_cache": False,
            "plan": plan,
        }
        rows, words = torch.zeros(labels, dtype=torch.long), torch.zeros(labels, dtype=torch.long)
        with _collected_when_asked(), live, counter:
            states = core.get_decoder()(**given).last_hidden_state[0].index_select(0, rows)
            attended = getattr(plan, "operations", 0)
            forward, kept = counter.get_total_flops() + attended, live.held()
            read = states.detach().requires_grad_(trains)
            live.peak = live.held()
            product = shape.text_config.hidden_size * head.vocabulary * labels * 2  # operations of the head once
            if fused:
                cost, weight = fused_bytes(head, read, halved is not None), core.get_output_embeddings().weight
                held, head_peak, unseen = cost.kept, cost.peak, cost.products * product
                read.grad = torch.empty_like(read)
                weight.grad = torch.empty_like(weight) if weight.requires_grad else None
            else:
                loss = label_nll(head_of(core), read, words)
                held, unseen = live.held() - kept, 0
                if not trains:
                    return Rehearsal(kept, held, live.peak - kept, 0, forward + product, 0)
                loss.sum().backward()
                head_peak = live.peak - kept
                del loss
            weights = _gradients(model)
            live.peak = before = live.held()
            states.backward(read.grad)
            layer = max(0, live.peak - before - (_gradients(model) - weights) // max(1, depth))
    backward = counter.get_total_flops() + unseen + attended * 7 // 2 - forward - product  # as torch counts its own
    return Rehearsal(kept, held, head_peak, layer, forward + product, backward)


def _gradients(model: Any) -> int:
    return sum(weight.grad.nbytes for weight in model.parameters() if weight.grad is not None)


def _plan(lengths: Sequence[int]) -> Plan:
    starts = [sum(lengths[:at]) for at in range(len(lengths))]
    segments = tuple(Segment(start, 0, start, length) for start, length in zip(starts, lengths, strict=True))
    return Plan(segments, torch.device("cpu"))


def _lengths(tokens: int, length: int) -> list[int]:
    """`tokens` cut into paths of about this length."""
    count = max(1, min(tokens, round(tokens / max(1, length))))
    base, longer = divmod(tokens, count)
    return [base + (at < longer) for at in range(count)]


def _fill(model: Any, half: bool) -> None:
    """Shapes of a real device instead of the meta device's; tied weights stay one."""
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, weight in list(module._parameters.items()):
            if weight is not None:
                again = made.get(id(weight))
                if again is None:
                    adapter = weight.requires_grad and hasattr(model, "peft_config")
                    dtype = torch.bfloat16 if half and not adapter else weight.dtype
                    again = torch.nn.Parameter(torch.empty(weight.shape, dtype=dtype), weight.requires_grad)
                    made[id(weight)] = again
                module._parameters[name] = again
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


class _Kernel:
    """Attention by a variable-length kernel: it keeps queries, grouped keys, values and its output, nothing squared."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.squares, self.operations = sum(length**2 for length in lengths), 0

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> Tensor:
        query, key, value = lowered(query, key, value)
        self.operations += 4 * query.shape[1] * query.shape[3] * self.squares
        result: Any = _Keeps.apply(query, key, value)
        return result


class _Keeps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:  # type: ignore[override]
        out = query.new_empty(query.shape[0], query.shape[2], query.shape[1], value.shape[3])
        ctx.save_for_backward(query, key, value, out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        return tuple(torch.empty_like(each) for each in ctx.saved_tensors[:3])
