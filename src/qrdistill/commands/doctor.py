"""`qrdistill doctor`: what this machine can run, and why not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from qrdistill.base.threads import cores

_EXTRAS = {
    "api": ("openai", "teachers and judges behind an OpenAI-compatible endpoint"),
    "lora": ("peft", "LoRA students"),
    "qlora": ("bitsandbytes", "NF4 students, 8-bit AdamW"),
    "math": ("math_verify", "LaTeX answers"),
    "hub": ("datasets", "tasks from the Hugging Face hub"),
    "reasoning-gym": ("reasoning_gym", "tasks reasoning_gym:<name>"),
    "tensorboard": ("tensorboard", "live training curves"),
    "vllm": ("vllm", "fast evaluation on a GPU"),
}


@dataclass(frozen=True)
class Fact:
    name: str
    usable: bool
    detail: str

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def diagnose(folder: Path | None = None) -> list[Fact]:
    """Facts about this machine, most basic first."""
    return list(_facts(folder or Path.cwd()))


def _facts(folder: Path) -> Iterator[Fact]:
    for package in ("torch", "transformers", "pyarrow"):
        try:
            yield Fact(package, True, metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Fact(package, False, "not installed; run: pip install qrdistill")
    yield Fact("cpu", True, f"{cores()} cores; the demo trains its two arms side by side on two")
    yield _gpu()
    free = shutil.disk_usage(folder).free / 2**30
    yield Fact("disk", free > 1, f"{free:.1f} GiB free in {folder}")
    for extra, (module, purpose) in _EXTRAS.items():
        if find_spec(module):
            yield Fact(extra, True, purpose)
        else:
            yield Fact(extra, False, f"{purpose}: pip install 'qrdistill[{extra}]'")
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    yield Fact(
        "hub access",
        not offline,
        "HF_HUB_OFFLINE is set: hub ids are read from the cache only" if offline else "hub ids are downloaded",
    )
    keys = sorted(name for name, value in os.environ.items() if name.endswith("_API_KEY") and value)
    yield Fact(
        "api keys",
        bool(keys),
        ", ".join(keys) or "no variable *_API_KEY is set (names are shown, never values)",
    )


def _gpu() -> Fact:
    try:
        import torch

        if torch.cuda.is_available():
            gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
            return Fact("gpu", True, ", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB)" for gpu in gpus))
        if torch.backends.mps.is_available():
            return Fact("gpu", True, "Apple MPS")
    except (ImportError, RuntimeError) as error:
        return Fact("gpu", False, f"torch cannot say: {error}")
    return Fact("gpu", False, "none; students up to a few million parameters train on the CPU")
