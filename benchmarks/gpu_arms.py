"""What `benchmarks/gpu.py` measures: one shape's folder and paths, and the arms that go through them.

Words are tokens, so all arms read the very same paths. An arm is a function that does one step, or one that gives its own
tokens a second.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import tiny
import torch

import training
from qrdistill.base.progress import Silent
from qrdistill.cost.gpus import GPUS
from qrdistill.paths.styles import STYLES, student_prompt
from qrdistill.routing.config import RouterConfig
from qrdistill.students.config import StudentConfig
from qrdistill.students.decode.decode import decode_requests
from qrdistill.students.decode.sampler import Request
from qrdistill.students.loading import load_student
from qrdistill.students.student import Student
from qrdistill.students.tokens import Encoded
from qrdistill.training.config import MutualConfig, TrainConfig
from qrdistill.training.plan import TrainData, TrainPlan
from qrdistill.training.train import train

WARM = 2  # steps that are not counted
Row = dict[str, Any]


class Bench:
    """One shape: its model folder, the paths of a step, and how a figure is taken."""

    def __init__(self, name: str, shape: dict[str, Any], options: argparse.Namespace, work: Path) -> None:
        self.name, self.options, self.work = name, options, work
        self.device = torch.device(options.device)
        self.gpu = self.device.type == "cuda"
        self.autocast: Literal["none", "bfloat16"] = "bfloat16" if self.gpu else "none"
        self.folder = work / name
        self.shape = {"tie_word_embeddings": True, "max_position_embeddings": 8192, **shape}
        tiny.make_student(self.shape.pop("model_type"), self.folder, **self.shape)
        draw = random.Random(0)
        long = (20, 60) if options.tiny else (150, 900)
        self.questions = [
            (tiny.words(draw, draw.randint(40, 120)), [tiny.words(draw, draw.randint(*long)) for _ in range(6)])
            for _ in range(options.paths // 6)
        ]
        self.pool: list[Encoded] = []
        self.count = sum(each.numel() for each in self.student().model.parameters())

    def student(self, name: str = "s", **changes: Any) -> Student:
        config = StudentConfig(name=name, model=str(self.folder), **changes)
        found = load_student(config, base_dir=self.work, device=str(self.device), autocast=self.autocast)
        self.pool = self.pool or [
            found.encode(student_prompt(question, style), text)
            for question, paths in self.questions
            for style, text in zip(STYLES.values(), paths, strict=True)
        ]
        return found

    @property
    def tokens(self) -> int:
        return sum(path.num_tokens for path in self.pool)

    def clock(self) -> float:
        if self.gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    def row(self, what: str, make: Callable[[], Callable[[], float | None]], *, whole: bool = True) -> Row:
        """Runs what `make` gives. It returns its own tokens/s, or None: then it is a step, and is timed.

        whole: all weights learn, so that 6 operations a weight and token are what it does.
        """
        gc.collect()
        if self.gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            step = make()
            rate = step()
            if rate is None:
                for _ in range(WARM - 1):
                    step()
                began = self.clock()
                for _ in range(self.options.steps):
                    step()
                rate = self.options.steps * self.tokens / (self.clock() - began)
        except torch.OutOfMemoryError:
            return {"shape": self.name, "what": what, "note": "out of memory"}
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.gpu else None
        used = self.utilisation(rate) if whole else None
        return {"shape": self.name, "what": what, "tokens_per_s": round(rate), "mfu": used, "peak_gib": peak}

    def utilisation(self, rate: float) -> float | None:
        name = torch.cuda.get_device_name().lower() if self.gpu else ""
        peak = next((gpu.flops for gpu in GPUS.values() if gpu.name.split("-")[0] in name), None)
        if peak is None:
            return None
        length = sum(path.num_tokens**2 for path in self.pool) / self.tokens
        heads = self.shape["num_attention_heads"] * self.shape["head_dim"]
        return rate * (6 * self.count + 6 * self.shape["num_hidden_layers"] * heads * length) / peak


def updater(parameters: Sequence[torch.nn.Parameter]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return update


def ours(bench: Bench, *, shared: bool, cut: bool = False, **changes: Any) -> Callable[[], None]:
    """The engine that `train` uses: packed paths, the head at label positions. cut: by FSDP2, with one rank."""
    student = bench.student(**changes)
    if cut:
        from torch.distributed.device_mesh import init_device_mesh

        from qrdistill.training.mesh.config import MeshConfig
        from qrdistill.training.mesh.shards import shard

        shard(student, init_device_mesh(bench.device.type, (1,)), MeshConfig())
    update = updater(student.trainable_parameters())
    targets = sum(path.num_targets for path in bench.pool)

    def step() -> None:
        for part in student.split(bench.pool, bench.options.tokens, shared_prefix=shared):
            view = student.forward([bench.pool[at] for at in part], shared_prefix=shared)
            (view.nll_B.sum() / targets).backward()
        update()

    return step


def plain(bench: Bench) -> Callable[[], None]:
    """transformers with SDPA: right-padded rows of similar length, its own forward and loss."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(bench.folder, attn_implementation="sdpa").to(bench.device).train()
    update = updater(list(model.parameters()))
    batches: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    order, rows = sorted(bench.pool, key=lambda path: path.num_tokens), list[Encoded]()
    for path, following in itertools.pairwise([*order, None]):
        rows.append(path)
        if following is None or (len(rows) + 1) * following.num_tokens > bench.options.tokens:
            batches.append(padded(rows, bench.device))
            rows = []
    targets = sum(path.num_targets for path in bench.pool)

    def step() -> None:
        for tokens, mask, labels in batches:
            precision = torch.autocast("cuda", torch.bfloat16) if bench.gpu else nullcontext()
            with precision:
                found = model(tokens, attention_mask=mask, labels=labels, num_items_in_batch=targets, use_cache=False)
            found.loss.backward()
        update()

    return step


def padded(rows: Sequence[Encoded], device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens = torch.ones(len(rows), max(path.num_tokens for path in rows) + 1, dtype=torch.long)
    mask, labels = torch.zeros_like(tokens), torch.full_like(tokens, -100)
    for at, path in enumerate(rows):
        ids, begins = [*path.prompt_ids, *path.response_ids], len(path.prompt_ids)
        tokens[at, : len(ids)], mask[at, : len(ids)] = torch.tensor(ids), 1
        labels[at, begins : len(ids)] = tokens[at, begins : len(ids)]
    return tokens.to(device), mask.to(device), labels.to(device)


def trl(bench: Bench) -> Callable[[], float]:
    trainer, meter = training.trl_trainer(
        bench.folder,
        bench.pool,
        bench.work / "trl",
        WARM + bench.options.steps,
        clock=bench.clock,
        skip=WARM,
        use_cpu=not bench.gpu,
        bf16=bench.gpu,
        max_length=2048,
        per_device_train_batch_size=max(1, bench.options.tokens // max(path.num_tokens for path in bench.pool)),
    )

    def run() -> float:
        trainer.train()
        return meter.tokens / meter.seconds

    return run


def joint(bench: Bench, count: int, seconds: dict[int, float]) -> Callable[[], float]:
    """Whole `train` with a learned router: data, gates, ledger, updates and files."""
    questions, paths, embeddings = tiny.pool(bench.questions)
    students = [StudentConfig(name=f"s{at}", model=str(bench.folder)) for at in range(count)]
    config = TrainConfig(
        steps=WARM + bench.options.steps,
        paths_per_step=len(paths),
        max_tokens_per_batch=bench.options.tokens,
        device=str(bench.device),
        shared_prefix=False,
        checkpoint_every=10**6,
        warmup=1,
    )
    plan = TrainPlan(students, RouterConfig(), MutualConfig(), config)

    def run() -> float:
        with tempfile.TemporaryDirectory(dir=bench.work) as folder:
            data = TrainData(questions, paths, STYLES, embeddings)
            train(data, plan, Path(folder), base_dir=bench.work, seed=0, progress=Silent())
            lines = [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]
        seconds[count] = statistics.median(line["seconds"] for line in lines[WARM:])
        return bench.tokens / seconds[count]

    return run


def decoding(bench: Bench) -> Callable[[], float]:
    """Written tokens a second, 64 rows at once, greedy; random students do not stop, so each has a drawn length."""
    student = bench.student(frozen=True)
    student.codec.stop_ids = frozenset()
    draw = random.Random(1)
    limits = [draw.randint(8, 16) if bench.options.tiny else draw.randint(100, 400) for _ in range(128)]

    def write() -> int:
        prompts = [student.codec.prompt_ids(bench.questions[at % len(bench.questions)][0]) for at in range(len(limits))]
        requests = [Request(p, torch.zeros(limit), limit) for p, limit in zip(prompts, limits, strict=True)]
        decode_requests(student, requests, batch_size=64, temperature=0.0)
        return sum(len(request.written) for request in requests)

    def run() -> float:
        write()
        began = bench.clock()
        return write() / (bench.clock() - began)

    return run
