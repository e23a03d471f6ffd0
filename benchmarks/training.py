"""How fast students train: ratios against the dense limit and against TRL, in one interleaved run.

    OMP_NUM_THREADS=1 python benchmarks/training.py [--rounds 3] [--parts engine,trl,joint,memory,profile]

One thread, CPU seconds, medians over rounds. The TRL rows need trl 1.16 (`pip install trl==1.16.0`); without
it they are left out, and the output says so.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joint
import tiny
import torch

from qrdistill.paths.styles import STYLES, student_prompt
from qrdistill.students.config import StudentConfig
from qrdistill.students.loading import load_student
from qrdistill.students.student import Student
from qrdistill.students.tokens import Encoded


def encode_pool(student: Student, num_questions: int) -> list[Encoded]:
    return [
        student.encode(student_prompt(question, style), text)
        for question, paths in tiny.texts(num_questions)
        for style, text in zip(STYLES.values(), paths, strict=True)
    ]


class Steps:
    """Optimizer steps on one pool: the same fused AdamW and clipping for every arm."""

    def __init__(self, folder: Path, student: Student) -> None:
        from transformers import AutoModelForCausalLM

        self.student, self.pool = student, encode_pool(student, 16)
        self.dense = AutoModelForCausalLM.from_pretrained(folder).train()
        self.draw = random.Random(0)
        self.optimizers = {
            id(model): torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
            for model in (student.model, self.dense)
        }

    def update(self, model: Any) -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        self.optimizers[id(model)].step()
        model.zero_grad()

    def dense_limit(self) -> float:
        """Full batches without padding, transformers' own forward and loss: 12 sequences of 210 tokens."""
        tokens = torch.randint(3, tiny.VOCABULARY, (12, 210))
        self.dense(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()
        self.update(self.dense)
        return tokens.numel()

    def ours(self, shared_prefix: bool) -> float:
        """Whole questions with their six paths; without shared prefix the same batch, computed plainly."""
        start = 6 * self.draw.randrange(len(self.pool) // 6 - tiny.PATHS_PER_STEP // 6 + 1)
        batch = self.pool[start : start + tiny.PATHS_PER_STEP]
        view = self.student.forward(batch, shared_prefix=shared_prefix)
        (view.nll_B.sum() / view.num_targets_B.sum()).backward()
        self.update(self.student.model)
        return sum(path.num_tokens for path in batch)


def trl_trainer(
    folder: Path,
    pool: list[Encoded],
    work: Path,
    steps: int,
    *,
    clock: Callable[[], float] = time.process_time,
    skip: int = 0,
    copies: int = 3,
    **options: Any,
) -> tuple[Any, Any]:
    """TRL's SFT of PATHS_PER_STEP paths a step (packed: as many rows of 512 as hold them), and a meter of it.

    The meter counts useful (non-pad) tokens, and seconds of `clock` from the beginning of each step to its end, after
    the first `skip`: TRL's set-up and collation are left out, in its favour.
    """
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    draw = random.Random(0)
    rows = [
        {
            "input_ids": [*path.prompt_ids, *path.response_ids],
            "completion_mask": [0] * len(path.prompt_ids) + [1] * len(path.response_ids),
        }
        for path in draw.sample(pool * copies, len(pool) * copies)
    ]
    mean = sum(len(row["input_ids"]) for row in rows) / len(rows)
    packed = bool(options.get("packing"))
    batch_size = round(tiny.PATHS_PER_STEP * mean / 512) if packed else tiny.PATHS_PER_STEP
    usual: dict[str, Any] = {
        "per_device_train_batch_size": batch_size,
        "max_length": 512,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "optim": "adamw_torch_fused",
        "report_to": "none",
        "logging_strategy": "no",
        "save_strategy": "no",
        "completion_only_loss": True,
        "disable_tqdm": True,
        "learning_rate": 1e-4,
        "dataloader_pin_memory": False,
    }
    settings = SFTConfig(output_dir=str(work), max_steps=steps, **(usual | options))

    class Meter(TrainerCallback):
        tokens, seconds, since, done = 0, 0.0, 0.0, 0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.since = clock()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds += clock() - self.since
            self.done += 1
            if self.done == skip:
                self.seconds, self.tokens = 0.0, 0

    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder),
        callbacks=[meter := Meter()],
    )
    inner = trainer.training_step

    def training_step(model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
        mask = inputs.get("attention_mask")
        meter.tokens += int(mask.sum()) if mask is not None else int(inputs["labels"].numel())
        return inner(model, inputs, *rest, **more)

    trainer.training_step = training_step
    return trainer, meter


def trl_arm(folder: Path, pool: list[Encoded], work: Path, **options: Any) -> Callable[[], tuple[float, float]]:
    trainer, meter = trl_trainer(folder, pool, work, 2, **options)

    def arm() -> tuple[float, float]:
        meter.tokens, meter.seconds = 0, 0.0
        with contextlib.redirect_stdout(io.StringIO()):
            trainer.train()
        return meter.tokens, meter.seconds

    return arm


def engine(rounds: int, with_trl: bool, work: Path) -> dict[str, tuple[float, str, str]]:
    rows: dict[str, tuple[float, str, str]] = {}
    for family in tiny.FAMILIES:
        folder = tiny.make_student(family, work / family)
        student = load_student(StudentConfig(name=family, model=str(folder)), base_dir=work)
        steps = Steps(folder, student)
        arms: dict[str, Callable[[], Any]] = {
            "dense": steps.dense_limit,
            "plain": lambda steps=steps: steps.ours(False),
            "shared": lambda steps=steps: steps.ours(True),
        }
        if with_trl:
            for name, options in {
                "TRL": {},
                "TRL bfd": {"packing": True, "packing_strategy": "bfd"},
                "TRL group_by_length": {"train_sampling_strategy": "group_by_length"},
            }.items():
                arms[name] = trl_arm(folder, steps.pool, work / "trl", **options)
        rates = tiny.interleave(arms, rounds)
        note = f"{rates['plain']:.0f} tokens per CPU second"
        rows[f"{family}: non-pad tokens over the dense limit"] = (
            rates["plain"] / rates["dense"],
            ">= 0.97",
            note,
        )
        rows[f"{family}: the same with shared prefix"] = (rates["shared"] / rates["dense"], "> 1.0", "")
        for name, goal in (("TRL", ">= 1.5"), ("TRL bfd", ">= 1.8"), ("TRL group_by_length", ">= 1.25")):
            if name in rates:
                plain = f"without shared prefix {rates['plain'] / rates[name]:.2f}"
                rows[f"{family}: over {name}"] = (rates["shared"] / rates[name], goal, plain)
    return rows


def memory(work: Path, with_trl: bool) -> dict[str, tuple[float, str, str]]:
    """Peak resident memory over what the loaded students take; every figure from a process of its own."""
    folders = [str(tiny.make_student(family, work / family)) for family in tiny.FAMILIES]
    script = Path(__file__).with_name("memory.py")

    def over_loaded(*arguments: str) -> float:
        command = [sys.executable, str(script), *arguments]
        return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])

    kinds = {"joint training of two students": "ours", "the same with mutual distillation": "mutual"}
    ours = {name: over_loaded(kind, *folders) for name, kind in kinds.items()}
    theirs = max(over_loaded("trl", folder) for folder in folders) if with_trl else float("nan")
    return {
        f"{name}, over TRL's one (the larger)": (mb / theirs, "<= 1.25", f"{mb:.0f} MB for {theirs:.0f} MB")
        for name, mb in ours.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default="engine,trl,joint,memory,profile")
    options = parser.parse_args()
    parts = options.parts.split(",")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with_trl = importlib.util.find_spec("trl") is not None
    if not with_trl and {"trl", "memory"} & {*parts}:
        print("trl is not installed: its rows are left out (pip install trl==1.16.0)")
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        if "engine" in parts:
            print(tiny.table("training", engine(options.rounds, with_trl and "trl" in parts, work)), flush=True)
        if "joint" in parts:
            print(tiny.table("joint training", joint.measure(options.rounds, work)), flush=True)
        if "memory" in parts:
            print(tiny.table("memory", memory(work, with_trl)), flush=True)
        if "profile" in parts:
            print(joint.profile(work), flush=True)


if __name__ == "__main__":
    main()
