"""How large a student is and what training it takes, from its files' headers alone: no weight is read, torch is not loaded.

All figures are rough: they are there to tell minutes from days and megabytes from more than there is.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from qrdistill.base.errors import DataError
from qrdistill.base.untrusted.guarded_json import loads, read_json
from qrdistill.students.config import StudentConfig
from qrdistill.students.find_model import find_model

_USEFUL = 0.4  # of what a large matrix product reaches, that training does
_ACTIVATION = 34  # bytes per token, layer and hidden unit (Korthikanti et al. 2022, without attention's square)
_HEADER = 100 << 20  # bytes; safetensors itself refuses longer ones


@dataclass(frozen=True)
class Size:
    """parameters: all of them. trained: those with a gradient. memory: bytes while training, without the framework."""

    parameters: int
    trained: int
    memory: int


def student_size(config: StudentConfig, base_dir: Path, *, tokens: int) -> Size | None:
    """None where the model's files are not on this machine, or say too little. tokens: of one forward pass."""
    source = Path(find_model(config.model, base_dir))
    files = sorted(source.glob("*.safetensors"))
    if not files or not (source / "config.json").is_file():
        return None
    try:
        shape: dict[str, Any] = read_json(source / "config.json", nan=True)
        shape = {**shape, **shape.get("text_config", {})}
        layers, hidden, vocabulary = (int(shape[key]) for key in ("num_hidden_layers", "hidden_size", "vocab_size"))
        shapes = {name: shape for file in files for name, shape in _shapes(file)}
    except (AttributeError, KeyError, TypeError, ValueError, OSError, DataError):
        return None
    parameters = sum(map(math.prod, shapes.values()))
    trained = 0 if config.frozen else parameters
    if config.lora is not None and not config.frozen:
        adapted = (shape for name, shape in shapes.items() if _adapted(name, shape, config.lora.targets))
        trained = config.lora.rank * sum(map(sum, adapted))  # two matrices: in x rank and rank x out
    weight = 0.6 if config.quantize else 2 if "16" in config.dtype else 4
    moments = 2 if config.optimizer == "adamw_8bit" else 8
    memory = parameters * weight + trained * (4 + moments)
    memory += tokens * (_ACTIVATION * layers * hidden + 2 * 4 * vocabulary)
    return Size(parameters, trained, round(memory))


def _adapted(name: str, shape: Sequence[int], targets: Literal["all-linear"] | Sequence[str]) -> bool:
    """Whether adapters are put on this tensor: a matrix of a layer, which neither embeds nor reads out."""
    module = name.removesuffix(".weight").rpartition(".")[2]
    return len(shape) == 2 and ".layers." in name and (targets == "all-linear" or module in targets)


def _shapes(file: Path) -> Iterator[tuple[str, list[int]]]:
    """A safetensors file begins with the length of its header, then the header: JSON with every tensor's shape."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header: dict[str, Any] = loads(stream.read(min(length, _HEADER)).decode(), where=file)
    yield from ((name, tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


@lru_cache(maxsize=4)
def speed(device: str) -> float:
    """Floating-point operations a second that training may hope for on this machine, measured for a tenth of a second."""
    if device != "cpu" and shutil.which("nvidia-smi"):
        import torch

        if torch.cuda.is_available():
            return _USEFUL * _measured(torch.ones(4096, 4096, device="cuda", dtype=torch.bfloat16))
    import numpy as np

    return _USEFUL * _measured(np.ones((384, 384), dtype=np.float32))


def _measured(matrix: Any) -> float:
    begun, rounds = time.perf_counter(), 0
    while rounds < 3 or time.perf_counter() - begun < 0.1:
        float((matrix @ matrix)[0, 0])  # reading one number waits for the device
        rounds += 1
    return 2 * len(matrix) ** 3 * rounds / (time.perf_counter() - begun)
