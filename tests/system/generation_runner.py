"""Runs `generate` against a server; `main` does so in forked children that it kills at random. Its words are

    FOLDER URL NUM_QUESTIONS PROCESSES KILLS SEED

So many processes at a time share one cache and write to folders of their own, 0, 1, ... Each is killed
with SIGKILL at a random moment and started anew, until there were KILLS kills; then all may finish.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pyarrow import parquet

from qrdistill.base.progress import Progress
from qrdistill.base.records import Failure, Question, ReasoningPath, Truth
from qrdistill.base.store import TableWriter
from qrdistill.llm.config import OpenAITeacher, Price
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.paths.config import PathsConfig
from qrdistill.paths.generate import GenerateWriters, Spending, generate

DRIPPING = 2.0  # seconds that a server which drips is borne with
# with characters that URLs escape
KEY_NAME, KEY = "FAULT_API_KEY", "sk-never/to+be=seen-0123456789"


def questions(number: int) -> list[Question]:
    return [
        Question(
            id=f"q{n}",
            split="train",
            task="jsonl",
            family="f",
            kind="number",
            question=f"What is {n} + 1?",
            gold=str(n + 1),
        )
        for n in range(number)
    ]


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
        TableWriter(folder / "paths.parquet", ReasoningPath) as paths,
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


def no_key_in(folder: Path, *texts: str) -> None:
    """In no byte of a folder, nor in what its tables and its cache hold in compressed form, however spelled."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    found = {str(number): text for number, text in enumerate(texts)}
    for file in files:
        found[str(file)] = file.read_bytes().decode("latin-1")
        if file.suffix == ".parquet":
            found[f"{file}, read"] = str(parquet.read_table(file).to_pylist())
        if file.suffix == ".sqlite":
            with tempfile.TemporaryDirectory() as scratch, ReplyCache(file) as cache:
                cache.export(Path(scratch) / "all.jsonl")
                found[f"{file}, exported"] = (Path(scratch) / "all.jsonl").read_text()
    for place, text in found.items():
        unescaped = re.sub(r"\\+u([0-9a-f]{4})", lambda code: chr(int(code[1], 16)), text)
        for spelled in (text, unescaped, unquote(text)):
            assert KEY not in spelled, place


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


def _committed(cache: Path) -> int:
    try:
        with sqlite3.connect(f"file:{cache}?mode=ro", uri=True) as connection:
            count = connection.execute("SELECT COUNT(*) FROM replies").fetchone()[0]
        connection.close()
    except sqlite3.OperationalError:  # no child has come so far yet
        return 0
    return count


def main(words: list[str]) -> int:
    folder, url = Path(words[0]), words[1]
    number, processes, kills, seed = map(int, words[2:])
    cache = folder / "replies.sqlite"
    chance = random.Random(seed)
    # moments of the run, not of the clock: a fast machine must not be done before the last kill
    moments = sorted(chance.uniform(0, 0.8 * 4 * number) for _ in range(kills))
    timeout = DRIPPING if kills else 60

    def start(name: int) -> int:
        return _child(folder / str(name), cache, url, number, timeout=timeout)

    children = {name: start(name) for name in range(processes)}
    killed = 0
    for moment in moments:
        while _committed(cache) < moment:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.2))
        name = chance.randrange(processes)
        os.kill(children[name], signal.SIGKILL)
        killed += os.waitstatus_to_exitcode(os.waitpid(children[name], 0)[1]) == -signal.SIGKILL
        children[name] = start(name)
    print(f"killed {killed}", flush=True)
    return max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children.values())
