"""Peak memory of three training steps over what the loaded students take, in MB: one measurement per process.

    python benchmarks/memory.py ours|mutual|trl FOLDER...       (benchmarks/training.py --parts memory calls it)

Linux only: the kernel's high-water mark of resident memory is reset once everything is loaded.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import tiny
import torch

import training
from qrdistill.base.progress import Silent
from qrdistill.paths.styles import STYLES
from qrdistill.routing.config import RouterConfig
from qrdistill.students.config import StudentConfig
from qrdistill.students.loading import load_student
from qrdistill.training.config import MutualConfig, TrainConfig
from qrdistill.training.plan import TrainData, TrainPlan
from qrdistill.training.train import train


def resident(name: str) -> float:
    """VmRSS (now) or VmHWM (highest since the last reset), in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


class Meter(Silent):
    """Begins when training begins, with the students loaded and the pool encoded; reads after each step."""

    loaded = peak = 0.0

    def start(self, stage: str = "", total: int | None = None) -> None:
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what loading freed must not be there to be used again
        Path("/proc/self/clear_refs").write_text("5")
        self.loaded = resident("VmRSS")

    def advance(self, steps: int = 1, **facts: object) -> None:
        self.peak = resident("VmHWM")


def ours(folders: list[str], weight: float) -> Meter:
    questions, paths, embeddings = tiny.pool(24)
    meter = Meter()
    with tempfile.TemporaryDirectory() as work:
        train(
            TrainData(questions, paths, STYLES, embeddings),
            TrainPlan(
                [StudentConfig(name=f"s{at}", model=folder) for at, folder in enumerate(folders)],
                RouterConfig(),
                MutualConfig(weight=weight),
                TrainConfig(steps=3, paths_per_step=tiny.PATHS_PER_STEP, warmup=1, checkpoint_every=100),
            ),
            Path(work, "run"),
            base_dir=Path(work),
            seed=0,
            progress=meter,
        )
    return meter


def trl(folder: str) -> Meter:
    """TRL's SFT of one student on the same paths, as many a step, fused AdamW, without packing."""
    from transformers import TrainerCallback

    student = load_student(StudentConfig(name="s", model=folder), base_dir=Path())
    meter = Meter()

    class After(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            meter.advance()

    pool = training.encode_pool(student, 24)
    del student
    with tempfile.TemporaryDirectory() as work:
        trainer, _ = training.trl_trainer(Path(folder), pool, Path(work), 3)
        trainer.add_callback(After())
        meter.start()
        trainer.train()
    return meter


def main() -> None:
    kind, *folders = sys.argv[1:]
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    meter = trl(folders[0]) if kind == "trl" else ours(folders, 0.1 if kind == "mutual" else 0.0)
    sys.stderr.write(f"{kind}: loaded {meter.loaded:.0f} MB, peak {meter.peak:.0f} MB\n")
    print(meter.peak - meter.loaded)


if __name__ == "__main__":
    main()
