"""What joint training costs: whole `train` runs, several at once, that take their steps in turn.

`benchmarks/training.py --parts joint,profile` runs it.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import tiny
import torch

from qrdistill.base.progress import Silent
from qrdistill.paths.styles import STYLES
from qrdistill.routing.config import RouterConfig
from qrdistill.students import student as student_module
from qrdistill.students.config import StudentConfig
from qrdistill.training.config import MutualConfig, TrainConfig
from qrdistill.training.optimizers import Group
from qrdistill.training.plan import TrainData, TrainPlan
from qrdistill.training.train import train


class Turns(Silent):
    """Lets several training runs, each in a thread, take their steps in turn, and clocks every step.

    So all arms meet the same moods of the machine. `steps` are a run's CPU seconds per step, from one step's
    end to the next; `models` how much of each went into forward, head, backward, clipping and update.
    """

    running: list[Turns] = []  # whose turn it is stands first
    turn = threading.Condition()
    here = threading.local()  # .run: the arm whose thread this is

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[float] = []
        self.models: list[float] = []
        self.tokens: list[int] = []
        self._inside = 0.0

    def wait(self) -> None:
        with Turns.turn:
            Turns.turn.wait_for(lambda: Turns.running[0] is self)

    def leave(self, *, last: bool = False) -> None:
        with Turns.turn:
            Turns.running.remove(self)
            if not last:
                Turns.running.append(self)
            Turns.turn.notify_all()

    def start(self, stage: str, total: int | None = None) -> None:
        self._inside, self._since = 0.0, time.thread_time()

    def advance(self, steps: int = 1, **facts: object) -> None:
        if not facts:
            return
        self.steps.append(time.thread_time() - self._since)
        self.models.append(self._inside)
        self.leave()
        self.wait()
        self._inside, self._since = 0.0, time.thread_time()

    @staticmethod
    def clocked(function: Callable[..., Any]) -> Callable[..., Any]:
        """Counts a function's seconds as the models' own."""

        def timed(*args: Any, **more: Any) -> Any:
            run: Turns | None = getattr(Turns.here, "run", None)
            since = time.thread_time()
            try:
                return function(*args, **more)
            finally:
                if run is not None:
                    run._inside += time.thread_time() - since

        return timed


def students_of(count: int, work: Path) -> list[StudentConfig]:
    """One family: cost may differ by the number of students only."""
    for at in range(count):
        if not (work / f"joint-{at}").exists():
            tiny.make_student("mistral", work / f"joint-{at}", seed=at)
    return [StudentConfig(name=f"s{at}", model=str(work / f"joint-{at}")) for at in range(count)]


def measure(rounds: int, work: Path) -> dict[str, tuple[float, str, str]]:
    """Whole `train` runs, step by step in turn: data, routing, ledger, updates, metrics and all.

    All arms draw the same paths at the same step, so a step is compared with that very step of another arm.
    """
    questions, paths, embeddings = tiny.pool(24)
    num_steps = 4 * rounds

    def arm(kind: str, num_students: int, share: float = 0.0, peer: str = "predicted") -> Callable[[Turns], None]:
        students = students_of(num_students, work)

        def run(turns: Turns) -> None:
            with tempfile.TemporaryDirectory(dir=work) as folder:
                train(
                    TrainData(questions, paths, STYLES, embeddings),
                    TrainPlan(
                        students,
                        RouterConfig(kind=kind, peer_loss=peer),
                        MutualConfig(weight=0.1 if share else 0.0, share=share or 0.25),
                        TrainConfig(
                            steps=num_steps + 2,
                            paths_per_step=tiny.PATHS_PER_STEP,
                            warmup=1,
                            checkpoint_every=100,
                            max_tokens_per_batch=8192,
                        ),
                    ),
                    Path(folder, "run"),
                    base_dir=work,
                    seed=0,
                    progress=turns,
                )
                lines = Path(folder, "run", "metrics.jsonl").read_text().splitlines()
                turns.tokens = [sum(json.loads(line)["tokens"].values()) for line in lines]

        return run

    arms = {
        "one": arm("all", 1),
        "plain": arm("random", 2),
        "learned": arm("learned", 2),
        "mutual": arm("learned", 2, share=0.25),
        "fresh": arm("learned", 2, peer="fresh"),
        "four": arm("learned", 4),
    }
    turns = {name: Turns() for name in arms}
    Turns.running = list(turns.values())

    def thread(name: str) -> None:
        Turns.here.run = turns[name]
        turns[name].wait()
        try:
            arms[name](turns[name])
        finally:
            turns[name].leave(last=True)

    with contextlib.ExitStack() as stack:
        for owner, name in (
            (student_module.Student, "states"),
            (student_module, "label_nll"),
            (torch.Tensor, "backward"),
            (Group, "gradient_norm"),
            (Group, "step"),
        ):
            patched = mock.patch.object(owner, name, Turns.clocked(getattr(owner, name)))
            stack.enter_context(patched)
        threads = [threading.Thread(target=thread, args=(name,)) for name in arms]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    def ratio(name: str, base: str) -> float:
        pairs = zip(turns[name].steps[1:-1], turns[base].steps[1:-1], strict=True)  # the last writes checkpoints
        return statistics.median(mine / other for mine, other in pairs)

    def computed(name: str, base: str) -> str:
        pairs = zip(turns[name].tokens[1:-1], turns[base].tokens[1:-1], strict=True)
        return f"tokens computed: {statistics.median(mine / other for mine, other in pairs):.2f}"

    def overhead(name: str) -> float:
        return sum(turns[name].steps[1:-1]) / sum(turns[name].models[1:-1])

    outside = "a whole step over forward, head, backward, clipping and update"
    return {
        "router and predictor over plain routed training, S = 2": (ratio("learned", "plain"), "<= 1.15", ""),
        "the same with mutual on a quarter of the paths": (
            ratio("mutual", "plain"),
            "<= 1.25",
            computed("mutual", "plain"),
        ),
        "the same with fresh peer losses": (ratio("fresh", "plain"), "", computed("fresh", "plain")),
        "S = 4 over S = 1 on one pool": (ratio("four", "one"), "<= 1.15", ""),
        "S = 2 over S = 1 on one pool": (ratio("learned", "one"), "", ""),
        "step overhead outside the models, S = 1": (overhead("one"), "<= 1.03", outside),
        "step overhead outside the models, S = 2 with router and predictor": (overhead("learned"), "<= 1.03", ""),
        "step overhead outside the models, S = 4": (overhead("four"), "<= 1.03", ""),
    }


_KINDS = {  # what torch's profiler calls it -> what it is
    "attention": ("scaled_dot_product",),
    "loss": ("log_softmax", "nll_loss", "cross_entropy"),
    "update": ("adamw", "vector_norm", "foreach"),
    "elementwise": ("mul", "add", "silu", "gelu", "pow", "rsqrt", "mean", "sum", "div", "neg", "sub", "tanh"),
    "moving": (
        "cat",
        "copy",
        "fill",
        "index",
        "split",
        "slice",
        "transpose",
        "select",
        "zero",
        "stack",
        "embedding",
    ),
}


def profile(work: Path, num_steps: int = 3) -> str:
    """Where the time of a mutual step of two students goes (torch's profiler, self time), as a table.

    The products' speed is compared with that of one large product: what a dense machine could reach.
    """
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    questions, paths, embeddings = tiny.pool(24)

    class Recorded(Silent):
        """Leaves out the first step. CPU seconds, because the profiler counts those of a busy machine too."""

        seen, seconds = 0, 0.0

        def advance(self, steps: int = 1, **facts: object) -> None:
            self.seen += bool(facts)
            if facts and self.seen == 1:
                recorder.start()
                self.seconds = -time.process_time()
            if facts and self.seen == 1 + num_steps:
                self.seconds += time.process_time()
                recorder.stop()

    recorder = torch_profile(activities=[ProfilerActivity.CPU], record_shapes=True)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        train(
            TrainData(questions, paths, STYLES, embeddings),
            TrainPlan(
                students_of(2, work),
                RouterConfig(),
                MutualConfig(weight=0.1),
                TrainConfig(steps=num_steps + 2, paths_per_step=tiny.PATHS_PER_STEP, warmup=1, checkpoint_every=100),
            ),
            Path(folder, "run"),
            base_dir=work,
            seed=0,
            progress=(recorded := Recorded()),
        )
    spent: dict[str, float] = {}
    operations = 0.0
    for event in recorder.key_averages(group_by_input_shape=True):
        name = event.key.removeprefix("aten::").lower()
        flat = [shape for shape in event.input_shapes if len(shape) == 2]
        if name in ("mm", "addmm") and len(flat) > 1:
            (rows, inner), (_, columns) = flat[-2:]
            head = tiny.VOCABULARY in (rows, inner, columns)
            kind = f"matrix products, {'head' if head else 'layers'}"
            operations += 2.0 * rows * inner * columns * event.count
        else:
            kind = next((kind for kind, parts in _KINDS.items() if any(part in name for part in parts)), "rest")
        spent[kind] = spent.get(kind, 0.0) + event.self_cpu_time_total
    total = sum(spent.values())
    products = sum(value for kind, value in spent.items() if kind.startswith("matrix")) / total
    speed = operations / (products * recorded.seconds) / 1e9 / dense_speed()
    lines = [f"| mutual step, S = 2 ({recorded.seconds / num_steps:.2f} CPU s) | share |", "| --- | --- |"]
    lines += [f"| {kind} | {value / total:.1%} |" for kind, value in sorted(spent.items(), key=lambda item: -item[1])]
    return "\n".join([*lines, f"| speed of the products over that of one of 2048 x 1024 x 1024 | {speed:.2f} |"])


def dense_speed() -> float:
    """Thousand million operations per CPU second of one large matrix product."""
    left, right = torch.randn(2048, 1024), torch.randn(1024, 1024)
    torch.mm(left, right)
    seconds = []
    for _ in range(5):
        since = time.process_time()
        torch.mm(left, right)
        seconds.append(time.process_time() - since)
    return 2 * 2048 * 1024 * 1024 / statistics.median(seconds) / 1e9
