"""How fast students train: ratios against the dense limit and against TRL, in one interleaved run.

    OMP_NUM_THREADS=1 python benchmarks/training.py [--rounds 3] [--parts engine,trl,joint]

One thread, CPU seconds, medians over rounds. The TRL rows need trl 1.16 (`pip install trl==1.16.0`); without
it they are left out, and the output says so.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path as Folder
from typing import Any

import numpy as np
import tiny
import torch

from qrdistill.paths.styles import STYLES, student_prompt
from qrdistill.progress import Silent
from qrdistill.records import Path, Question, path_id
from qrdistill.routing.config import RouterConfig
from qrdistill.students.config import MutualConfig, StudentConfig, TrainConfig
from qrdistill.students.loading import load_student
from qrdistill.students.loop import train
from qrdistill.students.student import Student
from qrdistill.students.tokens import Encoded

PATHS_PER_STEP = 12


def encode_pool(student: Student, num_questions: int) -> list[Encoded]:
    return [
        student.encode(student_prompt(question, style), text)
        for question, paths in tiny.texts(num_questions)
        for style, text in zip(STYLES.values(), paths, strict=True)
    ]


class Steps:
    """Optimizer steps on one pool: the same fused AdamW and clipping for every arm."""

    def __init__(self, folder: Folder, student: Student) -> None:
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
        start = 6 * self.draw.randrange(len(self.pool) // 6 - PATHS_PER_STEP // 6 + 1)
        batch = self.pool[start : start + PATHS_PER_STEP]
        view = self.student.forward(batch, shared_prefix=shared_prefix)
        (view.nll_B.sum() / view.num_targets_B.sum()).backward()
        self.update(self.student.model)
        return sum(path.num_tokens for path in batch)


def trl_arm(folder: Folder, pool: list[Encoded], work: Folder, **options: Any) -> Callable[[], float]:
    """One TRL step of PATHS_PER_STEP paths (packed: as many rows of 512 as hold them); useful tokens are non-pad."""
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    draw = random.Random(0)
    rows = [
        {"input_ids": [*path.prompt_ids, *path.response_ids],
         "completion_mask": [0] * len(path.prompt_ids) + [1] * len(path.response_ids)}
        for path in draw.sample(pool * 3, len(pool) * 3)
    ]  # fmt: skip
    mean = sum(len(row["input_ids"]) for row in rows) / len(rows)
    packed = bool(options.get("packing"))
    batch_size = round(PATHS_PER_STEP * mean / 512) if packed else PATHS_PER_STEP
    model = AutoModelForCausalLM.from_pretrained(folder)
    seen = [0]

    settings = SFTConfig(
        output_dir=str(work), per_device_train_batch_size=batch_size, max_steps=1, max_length=512,
        use_cpu=True, bf16=False, gradient_checkpointing=False, optim="adamw_torch_fused", report_to="none",
        logging_strategy="no", save_strategy="no", completion_only_loss=True, disable_tqdm=True,
        learning_rate=1e-4, dataloader_pin_memory=False, **options,
    )  # fmt: skip
    trainer = SFTTrainer(
        model=model, args=settings, train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )  # fmt: skip
    inner = trainer.training_step

    def training_step(model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
        mask = inputs.get("attention_mask")
        seen[0] += int(mask.sum()) if mask is not None else int(inputs["labels"].numel())
        return inner(model, inputs, *rest, **more)

    trainer.training_step = training_step

    def arm() -> float:
        seen[0] = 0
        with contextlib.redirect_stdout(io.StringIO()):
            trainer.train()
        return seen[0]

    return arm


def engine(rounds: int, with_trl: bool, work: Folder) -> dict[str, tuple[float, str, str]]:
    rows: dict[str, tuple[float, str, str]] = {}
    for family in tiny.FAMILIES:
        folder = tiny.make_student(family, work / family)
        student = load_student(StudentConfig(name=family, model=str(folder)), base_dir=work)
        steps = Steps(folder, student)
        arms: dict[str, Callable[[], float]] = {
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


class StepTimes(Silent):
    """CPU seconds between the steps of a real training run."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._last = 0.0

    def start(self, stage: str, total: int | None = None) -> None:
        self._last = time.process_time()

    def advance(self, steps: int = 1, **facts: object) -> None:
        now = time.process_time()
        if steps:
            self.seconds.append(now - self._last)
        self._last = now


def joint(rounds: int, work: Folder) -> dict[str, tuple[float, str, str]]:
    """Whole `train` runs: data, routing, ledger, updates, metrics and all."""
    questions: dict[str, Question] = {}
    paths: list[Path] = []
    for at, (text, written) in enumerate(tiny.texts(24)):
        name = f"q{at}"
        questions[name] = Question(
            id=name, split="train", task="t", family="f", kind="text", question=text, gold="w3"
        )
        for style, path in zip(STYLES, written, strict=True):
            paths.append(
                Path(
                    id=path_id(0, name, "t", style, 0), question_id=name, teacher="t", style=style,
                    prompt_hash="", text=path, answer="w3",
                )
            )  # fmt: skip
    embeddings = np.random.default_rng(0).standard_normal((len(paths), 128), dtype=np.float32)

    def arm(kind: str, num_students: int, share: float = 0.0, peer: str = "ledger") -> Callable[[], float]:
        students = []
        for at in range(num_students):  # one family: cost may differ by the number of students only
            folder = work / f"joint-{at}"
            if not folder.exists():
                tiny.make_student("mistral", folder, seed=at)
            students.append(StudentConfig(name=f"s{at}", model=str(folder)))

        def run() -> float:
            times = StepTimes()
            with tempfile.TemporaryDirectory(dir=work) as folder:
                train(
                    questions, paths, embeddings, students=students,
                    router=RouterConfig(kind=kind, peer_loss=peer),
                    mutual=MutualConfig(weight=0.1 if share else 0.0, share=share or 0.25),
                    config=TrainConfig(
                        steps=3, paths_per_step=PATHS_PER_STEP, warmup=1, checkpoint_every=100,
                        max_tokens_per_batch=8192,
                    ),
                    styles=STYLES, folder=Folder(folder, "run"), out=Folder(folder, "out"),
                    assignments=Folder(folder, "assignments.parquet"), base_dir=work, seed=0, progress=times,
                )  # fmt: skip
            return statistics.median(times.seconds[1:3])

        return run

    arms = {
        "all, S = 1": arm("all", 1),
        "random, S = 2": arm("random", 2),
        "ledger, S = 2": arm("learned", 2),
        "mutual, S = 2": arm("learned", 2, share=0.25),
        "fresh, S = 2": arm("learned", 2, peer="fresh"),
        "ledger, S = 4": arm("learned", 4),
    }
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, run in arms.items():
            seconds[name].append(run())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    plain, one = medians["random, S = 2"], medians["all, S = 1"]
    return {
        "router and ledger over plain routed training, S = 2": (medians["ledger, S = 2"] / plain, "<= 1.15", ""),
        "the same with mutual on a quarter of the paths": (medians["mutual, S = 2"] / plain, "<= 1.25", ""),
        "the same with fresh peer losses": (medians["fresh, S = 2"] / plain, "", ""),
        "S = 4 over S = 1 on one pool": (medians["ledger, S = 4"] / one, "<= 1.15", ""),
        "S = 2 over S = 1 on one pool": (medians["ledger, S = 2"] / one, "", ""),
        "one student through `train` over its bare forward, backward, update": (
            one / bare_step(work), "<= 1.03", "step overhead outside the models"
        ),
    }  # fmt: skip


def bare_step(work: Folder) -> float:
    """CPU seconds of a step of one student without the loop around it; same kind of batch as in `joint`."""
    student = load_student(StudentConfig(name="s0", model=str(work / "joint-0")), base_dir=work)
    pool = encode_pool(student, 24)
    optimizer = torch.optim.AdamW(student.trainable_parameters(), lr=1e-4, fused=True)
    draw, seconds = random.Random(0), []
    for _ in range(7):
        batch = draw.sample(pool, PATHS_PER_STEP)
        start = time.process_time()
        view = student.forward(batch)
        (view.nll_B.sum() / view.num_targets_B.sum()).backward()
        torch.nn.utils.clip_grad_norm_(student.trainable_parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append((time.process_time() - start) / sum(path.num_tokens for path in batch))
    mean = sum(path.num_tokens for path in pool) / len(pool) * PATHS_PER_STEP
    return statistics.median(seconds[1:]) * mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default="engine,trl,joint")
    options = parser.parse_args()
    parts = options.parts.split(",")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with_trl = "trl" in parts and importlib.util.find_spec("trl") is not None
    if "trl" in parts and not with_trl:
        print("trl is not installed: its rows are left out (pip install trl==1.16.0)")
    with tempfile.TemporaryDirectory() as work:
        if "engine" in parts or with_trl:
            print(tiny.table("training", engine(options.rounds, with_trl, Folder(work))), flush=True)
        if "joint" in parts:
            print(tiny.table("joint training", joint(options.rounds, Folder(work))), flush=True)


if __name__ == "__main__":
    main()
