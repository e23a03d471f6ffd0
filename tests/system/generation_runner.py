"""Runs `generate` against a server; as a script it does so in forked children that it kills at random.

    python generation_runner.py FOLDER URL NUM_QUESTIONS kill|pair SEED

kill: twenty children one after the other, each killed with SIGKILL, then one that may finish.
pair: two children at the same time on one cache, writing to different folders.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from qrdistill.paths.config import OpenAITeacher, PathsConfig, Price
from qrdistill.paths.generate import GenerateWriters, Spending, generate
from qrdistill.progress import Progress
from qrdistill.records import Failure, Question, Truth
from qrdistill.records import Path as PathRecord
from qrdistill.replies import ReplyCache
from qrdistill.store import TableWriter

DRIPPING = 2.0  # seconds that a server which drips is borne with
KEY_NAME, KEY = "FAULT_API_KEY", "sk-never-to-be-seen-0123456789"


def questions(number: int) -> list[Question]:
    return [
        Question(
            id=f"q{n}", split="train", task="jsonl", family="f", kind="number", question=f"What is {n} + 1?", gold=str(n + 1)
        )
        for n in range(number)
    ]  # fmt: skip


def teacher(url: str, **changes: Any) -> OpenAITeacher:
    settings: dict[str, Any] = {
        "kind": "openai",
        "name": "faulty",
        "model": "tiny",
        "base_url": url,
        "api_key_env": KEY_NAME,
        "seed": 0,  # sent as seed + sample, which is how the server tells samples apart
        "timeout": 60.0,  # a busy machine must not look like a fault
        "price": Price(input=1, output=2),
    }
    return OpenAITeacher(**(settings | changes))


def run(
    folder: Path,
    teachers: list[OpenAITeacher],
    number: int,
    *,
    cache: Path | None = None,
    styles: tuple[str, ...] = ("vanilla", "facts"),
    progress: Progress | None = None,
    **changes: Any,
) -> Spending:
    """Two styles and two samples by default: four requests per question."""
    folder.mkdir(parents=True, exist_ok=True)
    config = PathsConfig(**({"styles": list(styles), "per_style": 2} | changes))
    with (
        ReplyCache(cache or folder / "replies.sqlite") as replies,
        TableWriter(folder / "paths.parquet", PathRecord) as paths,
        TableWriter(folder / "failures.parquet", Failure) as failures,
        TableWriter(folder / "truth.parquet", Truth) as truth,
    ):
        return generate(
            questions(number),
            list(teachers),
            config,
            out=GenerateWriters(paths, failures, truth),
            cache=replies,
            base_dir=folder,
            seed=0,
            progress=progress,
        )


def _child(folder: Path, cache: Path, url: str, number: int, *, timeout: float) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            run(folder, [teacher(url, timeout=timeout)], number, cache=cache)
            code = 0
        except BaseException as error:
            print(type(error), error, file=sys.stderr, flush=True)
        os._exit(code)
    return pid


def _main(folder: Path, url: str, number: int, what: str, seed: int) -> int:
    import openai  # noqa: F401 - imported once here, not once per child

    cache = folder / "replies.sqlite"
    if what == "pair":
        children = [_child(folder / name, cache, url, number, timeout=60) for name in ("one", "two")]
        return max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children)
    chance = random.Random(seed)
    killed = 0
    for _ in range(20):
        pid = _child(folder, cache, url, number, timeout=DRIPPING)
        time.sleep(chance.uniform(0.05, 0.5))
        os.kill(pid, signal.SIGKILL)
        killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    print(f"killed {killed}", flush=True)
    return os.waitstatus_to_exitcode(os.waitpid(_child(folder, cache, url, number, timeout=DRIPPING), 0)[1])


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])))
