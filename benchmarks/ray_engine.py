"""Ray's overhead: the same paths through answer checks and embedding, in this process and by Ray's workers in turn.

    python benchmarks/ray_engine.py                      100,000 paths in four parts, one worker at a time
    python benchmarks/ray_engine.py --at-once 2          two workers at a time
    python benchmarks/ray_engine.py --paths 4000         for a test of the script itself

Each part goes through both, one after the other, so that a busy machine slows both. The ratio is Ray's wall seconds over
local ones: with one worker at a time it is what handing the work out costs. Starting the cluster is counted apart. Both
must write the same bytes, or the script says so and ends with 1.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qrdistill.base.progress import Silent
from qrdistill.base.records import Question, ReasoningPath, Verdict, path_id
from qrdistill.base.store import TableWriter, content_hash
from qrdistill.base.threads import cores
from qrdistill.compute.config import ComputeConfig
from qrdistill.compute.ray_workers import workers_of
from qrdistill.routing.config import EncoderConfig
from qrdistill.routing.embed import embed
from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.filter import filter_paths

if TYPE_CHECKING:
    from qrdistill.compute.workers import Workers

PER_QUESTION = 4


def made(count: int, seed: int) -> tuple[dict[str, Question], list[ReasoningPath]]:
    """Questions of two sums, and paths of about 60 words, three in ten with a wrong answer."""
    draw = random.Random(seed)
    questions: dict[str, Question] = {}
    paths: list[ReasoningPath] = []
    for number in range(count // PER_QUESTION):
        a, b, c = (draw.randint(2, 900) for _ in range(3))
        id = f"train-{seed}-{number}"
        questions[id] = Question(
            id=id,
            split="train",
            task="bench",
            family="sums",
            kind="number",
            question=f"A shop sells {a} pens, then {b} more, and takes {c} back. How many are gone?",
            gold=str(a + b - c),
        )
        for sample in range(PER_QUESTION):
            off = draw.choice([1, 10]) if draw.random() < 0.3 else 0
            steps = " ".join(f"In step {k} we look at {draw.randint(2, 999)} and keep it in mind." for k in range(5))
            text = f"{steps} First {a} + {b} = {a + b}. Then {a + b} - {c} = {a + b - c + off}.\n"
            paths.append(
                ReasoningPath(
                    id=path_id(0, id, "t", "vanilla", sample),
                    question_id=id,
                    teacher="t",
                    style="vanilla",
                    sample=sample,
                    prompt_hash="0",
                    text=f"{text}The answer is {a + b - c + off}.",
                    answer=None,
                )
            )
    return questions, paths


def through(
    questions: dict[str, Question], paths: list[ReasoningPath], folder: Path, workers: Workers | None
) -> tuple[float, str]:
    """Seconds, and a hash of what was written."""
    began = time.perf_counter()
    with TableWriter(folder / "verdicts.parquet", Verdict) as out:
        filter_paths(questions, paths, FilterConfig(), out=out, workers=workers)
    pairs = [(questions[path.question_id].question, path.text) for path in paths]
    parts = [*embed(pairs, EncoderConfig(), seed=0, workers=workers, beside=folder / "embeddings.npy")]
    seconds = time.perf_counter() - began
    return seconds, content_hash(
        [content_hash(folder / "verdicts.parquet"), content_hash(np.concatenate(parts).tobytes().hex())]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--paths", type=int, default=100_000)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--at-once", type=int, default=1, help="workers at a time")
    options = parser.parse_args()
    local = ray = 0.0
    same = True
    config = ComputeConfig(kind="ray", cpus=cores() / options.at_once)
    with tempfile.TemporaryDirectory() as scratch, workers_of(config) as workers:
        assert workers is not None
        began = time.perf_counter()
        list(workers.map(_nothing, [0], progress=Silent()))
        started = time.perf_counter() - began
        for part in range(options.parts):
            questions, paths = made(options.paths // options.parts, part)
            one, first = through(questions, paths, Path(scratch), None)
            two, second = through(questions, paths, Path(scratch), workers)
            local, ray, same = local + one, ray + two, same and first == second
    figures = {
        "paths": options.paths,
        "workers_at_once": options.at_once,
        "ratio": round(ray / local, 2),
        "local_seconds": round(local, 1),
        "ray_seconds": round(ray, 1),
        "start_seconds": round(started, 1),
        "same_bytes": same,
        "driver_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps(figures, indent=2))
    return int(not same)


def _nothing(item: int, progress: object) -> int:
    return item


if __name__ == "__main__":
    sys.exit(main())
