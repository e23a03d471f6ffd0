"""This machine: the memory and disk that it has, and how fast it trains, measured with a layer of the model's own shape."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from qrdistill.base.store import write_json
from qrdistill.base.untrusted.guarded_json import read_json
from qrdistill.cost.shape import Shape
from qrdistill.students.attention import Plan, Segment
from qrdistill.students.head import head_of, label_nll
from qrdistill.students.quiet_transformers import quiet

_OPERATIONS = 1.2e10  # of a probe's pass: a fraction of a second on one core
_WORDS = 4096  # of the probe's vocabulary: the head's cost grows with its words
_LABELS = 256  # so many at once are far from the end where reading the head's weights costs more than using them
_DEPTH = 2


@dataclass(frozen=True)
class Rates:
    """Seconds. layer, layer_forward: of a token in one layer, with and without its backward. head, head_forward: of a
    label and a word of the vocabulary. update: of a number that trains. basis: how they were found."""

    layer: float
    layer_forward: float
    head: float
    head_forward: float
    update: float
    basis: str


def resident() -> int:
    """Bytes of this process that are in memory: what Python, torch and tokenizers take before a student is loaded."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 500 << 20


def rates(shape: Shape, *, tokens: int, length: int, device: torch.device, autocast: str = "none") -> Rates:
    """How fast this machine computes a student of this shape: measured once, in about a second, then kept in the user's
    cache folder (`$XDG_CACHE_HOME/qrdistill`) for this processor, these threads and this version of torch."""
    per_token = 6 * _DEPTH * max(1, shape.counts.per_layer)
    tokens = max(16, min(tokens, int(_OPERATIONS / per_token)))
    length = max(1, min(length, tokens))
    bucket = 1 << (tokens.bit_length() - 1)  # a few tokens more or less do not ask for a new measurement
    facts = [shape.settings, shape.form, bucket, length // 32, autocast, _machine(device)]
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
    file = _cache() / "rates" / f"{name}.json"
    try:
        return Rates(**read_json(file))
    except Exception:  # not there, or of another version: measured anew
        found = _measure(shape, bucket, min(length, bucket), device, autocast)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, asdict(found))
    except Exception:  # a folder that cannot be written costs a second each time, and nothing else
        pass
    return found


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qrdistill"


def _machine(device: torch.device) -> list[object]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return [name, torch.get_num_threads(), torch.__version__]


@lru_cache(maxsize=1)
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _measure(shape: Shape, tokens: int, length: int, device: torch.device, autocast: str) -> Rates:
    with torch.random.fork_rng(devices=[]):
        model = _with_numbers(shape, device)
    core = model.get_base_model() if hasattr(model, "peft_config") else model
    trains = not shape.student.frozen
    model.train(trains)
    batch = _batch(tokens, length, device)
    words = core.get_input_embeddings().weight.shape[0]
    halved = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(autocast)
    precise = torch.autocast(device.type, halved, enabled=halved is not None)

    def decoder() -> torch.Tensor:
        with precise:
            return core.get_decoder()(**batch).last_hidden_state[0]

    states = decoder().detach()
    labels = torch.zeros(_LABELS, dtype=torch.long, device=device)
    read = states[: len(labels)].repeat(-(-len(labels) // len(states)), 1)[: len(labels)].requires_grad_(trains)

    last = head_of(core)

    def head() -> torch.Tensor:
        with precise:
            return label_nll(last, read, labels).sum()

    clock = _Clock(device)
    with torch.no_grad():
        layer_forward = clock(lambda: decoder().sum()) / tokens / _DEPTH
        head_forward = clock(head) / len(labels) / words
    layer, head_both, update = layer_forward, head_forward, 0.0
    if trains:

        def backward(loss: torch.Tensor) -> None:
            model.zero_grad(set_to_none=True)
            loss.backward()

        layer = clock(lambda: backward(decoder().sum())) / tokens / _DEPTH
        head_both = clock(lambda: backward(head())) / len(labels) / words
        backward(decoder().sum())
        weights = [weight for weight in model.parameters() if weight.grad is not None]
        optimizer = torch.optim.AdamW(weights, lr=1e-9, fused=True)
        update = clock(lambda: optimizer.step()) / max(1, sum(weight.numel() for weight in weights))
    where = _machine(device)[0]
    basis = f"measured with {_DEPTH} layers of this shape, {tokens} tokens at once, on {where}, {torch.get_num_threads()} threads"
    return Rates(layer, layer_forward, head_both, head_forward, update, basis)


class _Clock:
    """The shortest of a few runs, the first left out: other work on the machine makes runs longer, never shorter. One
    thread's own seconds do not count what others did meanwhile."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        alone = device.type == "cpu" and torch.get_num_threads() == 1
        self._now = time.process_time if alone else time.perf_counter

    def __call__(self, work: Callable[[], Any], *, rounds: int = 3) -> float:
        return min([self._once(work) for _ in range(rounds + 1)][1:])

    def _once(self, work: Callable[[], Any]) -> float:
        began = self._now()
        work()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return self._now() - began


def _batch(tokens: int, length: int, device: torch.device) -> dict[str, Any]:
    starts: Sequence[int] = range(0, tokens, length)
    segments = tuple(Segment(start, 0, start, min(length, tokens - start)) for start in starts)
    return {
        "input_ids": torch.arange(tokens, device=device)[None] % 64,
        "position_ids": torch.arange(tokens, device=device)[None] % length,
        "attention_mask": torch.zeros(1, 1, 1, 1, device=device),
        "use_cache": False,
        "plan": Plan(segments, device),
    }


def _with_numbers(shape: Shape, device: torch.device) -> Any:
    """Two layers of the student with random weights, in its form: adapters, four bits, halves."""
    from qrdistill.students.adapters import add_lora, quantize_in_place

    student = shape.student
    depth, words = min(_DEPTH, shape.layers), min(_WORDS, shape.counts.rows)
    bare = Shape(student.model_copy(update={"lora": None, "quantize": None, "frozen": False}), shape.settings)
    model = bare.model(layers=depth, vocabulary=words, device=str(device))
    fixed = student.frozen or student.lora is not None
    if student.dtype != "auto" or (device.type == "cuda" and fixed):
        model = model.to(torch.bfloat16 if student.dtype == "auto" else getattr(torch, student.dtype))
    if student.quantize:
        model = quantize_in_place(model, device)
    if student.frozen:
        model.requires_grad_(False)
    elif student.lora is not None:
        with quiet():
            model = add_lora(model, student)
    return model
