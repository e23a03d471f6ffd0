"""`qrdistill doctor`: what this machine can run, and why not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
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
    "ray": ("ray", "checks, embedding and studies on a cluster (--engine ray)"),
    "gguf": ("gguf", "students as GGUF files, for llama.cpp and Ollama"),
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


def print_facts(config: Path | None, overrides: Sequence[str], *, as_json: bool) -> bool:
    """Prints what is known of this machine, or of a config on it; whether all that the config needs is there."""
    facts = diagnose()
    fine = True
    if config is not None:
        from qrdistill.commands.doctor_config import examine

        own = examine(config, overrides)
        facts, fine = [*facts, *own], all(fact.usable for fact in own)
    if as_json:
        print(json.dumps([fact.as_dict() for fact in facts]))
    else:
        for fact in facts:
            print(f"{'yes' if fact.usable else 'no ':<4} {fact.name:<22} {fact.detail}")
    return fine


def _facts(folder: Path) -> Iterator[Fact]:
    for package in ("torch", "transformers", "pyarrow"):
        try:
            yield Fact(package, True, metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Fact(package, False, "not installed; run: pip install qrdistill")
    yield Fact("cpu", True, f"{cores()} cores; the demo trains its two arms side by side on two")
    yield _gpu()
    yield _distributed()
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


def _distributed() -> Fact:
    """What several processes can exchange tensors with."""
    try:
        import torch.distributed as dist

        backends = ["gloo (CPU)"] * dist.is_gloo_available() + ["nccl (GPU)"] * dist.is_nccl_available()
        return Fact("distributed", bool(backends), ", ".join(backends) or "torch has neither gloo nor nccl here")
    except (ImportError, AttributeError, RuntimeError) as error:
        return Fact("distributed", False, f"torch cannot say: {error}")


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
