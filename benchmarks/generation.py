"""Generation against its limits, in one run: python benchmarks/generation.py

(a) requests per second at concurrency 64 against a local server with 50 ms latency, end to end (questions
    to paths.parquet, replies committed), over what the bare openai SDK reaches in the same process, and,
    where it is installed (pip install 'distilabel[openai]' requests), over a distilabel pipeline from
    questions to a data set, start-up included but for imports;
(b) replaying cached replies into paths.parquet: CPU seconds and peak memory, at two sizes, which shows
    that memory does not grow with the number of requests.

Rounds are interleaved and medians are taken, so that a busy machine slows both sides alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from qrdistill.base.records import Failure, Question, ReasoningPath, Truth
from qrdistill.base.store import TableWriter
from qrdistill.llm.config import OpenAITeacher
from qrdistill.llm.reply_cache import Reply, ReplyCache
from qrdistill.paths.config import PathsConfig
from qrdistill.paths.generate import GenerateWriters, Spending, generate
from qrdistill.paths.styles import resolve_styles
from qrdistill.paths.wanted_paths import ChatRequests

CONCURRENCY, LATENCY = 64, 0.05
CONFIG = PathsConfig(per_style=1)
TEXT = "We have to find the sum. " + "Then 12 + 30 = 42, so that is 42 so far. " * 20 + "The answer is 42."


def questions(number: int) -> list[Question]:
    return [
        Question(
            id=f"q{n}",
            split="train",
            task="jsonl",
            family="f",
            kind="number",
            question=f"A shop has {n} apples and gets {n % 30} more, then sells some of them to Ann. How many are left?",
            gold="42",
        )
        for n in range(number)
    ]


def teacher(url: str) -> OpenAITeacher:
    return OpenAITeacher(
        kind="openai", name="local", model="tiny", base_url=url, concurrency=CONCURRENCY, max_tokens=300
    )


def ours(folder: Path, url: str, number: int) -> Spending:
    folder.mkdir(parents=True, exist_ok=True)
    with (
        ReplyCache(folder / "replies.sqlite") as cache,
        TableWriter(folder / "paths.parquet", ReasoningPath) as paths,
        TableWriter(folder / "failures.parquet", Failure) as failures,
        TableWriter(folder / "truth.parquet", Truth) as truth,
    ):
        out = GenerateWriters(paths, failures, truth)
        return generate(questions(number), [teacher(url)], CONFIG, out=out, cache=cache, base_dir=folder, seed=0)


async def bare(url: str, number: int) -> int:
    """The same requests through the SDK alone: no cache, no limits, no tables."""
    import openai

    with tempfile.TemporaryDirectory() as folder, ReplyCache(Path(folder) / "c.sqlite") as cache:
        styles = list(resolve_styles(CONFIG.styles).values())
        requests = iter(ChatRequests(teacher(url), questions(number), styles, 1, cache=cache, base_dir=Path(folder)))
        client = openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0)
        characters = 0

        async def worker() -> None:
            nonlocal characters
            for request in requests:
                reply = await client.chat.completions.create(**request.body())
                characters += len(reply.choices[0].message.content or "")

        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
        await client.close()
        return characters


def distilabel_here(url: str, number: int) -> None:
    """The same questions and styles through distilabel, which asks a batch at a time; prints the seconds."""
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as name, ReplyCache(Path(name) / "c.sqlite") as cache:
        styles = list(resolve_styles(CONFIG.styles).values())
        source = ChatRequests(teacher(url), questions(number), styles, 1, cache=cache, base_dir=Path(name))
        rows = [{"instruction": request.messages[-1][1]} for request in source]
    with Pipeline(name="peer") as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=CONCURRENCY)
        settings = {"max_new_tokens": 300, "temperature": 0.8}
        model = OpenAILLM(model="tiny", base_url=url, api_key="none", generation_kwargs=settings)
        load >> TextGeneration(llm=model, input_batch_size=CONCURRENCY)
    written = pipeline.run(use_cache=False)["default"]["train"]
    assert sum(bool(text) for text in written["generation"]) == len(rows) == 6 * number
    print(f"\nseconds {time.perf_counter() - begun}")


def distilabel(url: str, number: int) -> float:
    """Requests per second, in a process of its own: it starts further ones."""
    command = [sys.executable, "-W", "ignore", __file__, "--distilabel", url, str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return 6 * number / float(done.stdout.rpartition("seconds")[2])


def rate(folder: Path, number: int, rounds: int) -> dict[str, float]:
    server = Path(__file__).parents[1] / "tests/system/fault_server.py"
    process = subprocess.Popen([sys.executable, str(server), str(LATENCY)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    url = process.stdout.readline().strip()
    found: dict[str, list[float]] = {"ours": [], "bare SDK": []}
    total = 6 * number
    with_peer = find_spec("distilabel") is not None
    if with_peer:
        found["distilabel"] = []
    try:
        asyncio.run(bare(url, 20))  # imports and first connections belong to neither side
        for count in range(rounds):
            for side in ("bare SDK", "ours")[:: 1 if count % 2 else -1]:  # neither is always the first
                begun = time.perf_counter()
                if side == "ours":
                    spending = ours(folder / str(count), url, number)
                    assert (spending.paths, spending.cached) == (total, 0)
                else:
                    asyncio.run(bare(url, number))
                found[side].append(total / (time.perf_counter() - begun))
            if with_peer:
                found["distilabel"].append(distilabel(url, number))
    finally:
        process.kill()
        process.wait()
    measured = {f"{name}, requests/s": statistics.median(values) for name, values in found.items()}
    for peer in [name for name in found if name != "ours"]:
        ratios = [mine / theirs for mine, theirs in zip(found["ours"], found[peer], strict=True)]
        measured[f"ours over {peer}"] = statistics.median(ratios)
        low, _, high = statistics.quantiles(ratios, n=4)
        measured |= {"  first quartile": low, "  third quartile": high}
    return measured


def fill_cache(folder: Path, url: str, number: int) -> None:
    styles = list(resolve_styles(CONFIG.styles).values())
    response = json.dumps({"choices": [{"message": {"content": TEXT}}]})
    with ReplyCache(folder / "replies.sqlite") as cache:
        source = ChatRequests(teacher(url), questions(number), styles, 1, cache=cache, base_dir=folder)
        group = []
        for request in source:
            group.append((request, Reply(TEXT, "stop", 60, 250, 0.0, 0.05, response)))
            if len(group) == 5000:
                cache.settle(group)
                group = []
        cache.settle(group)


def replay(folder: Path, number: int) -> dict[str, float]:
    """In a process of its own, whose peak memory is then that of this alone."""
    url = "http://127.0.0.1:9/v1"
    folder.mkdir(parents=True)
    fill_cache(folder, url, number)
    done = subprocess.run(
        [sys.executable, __file__, "--replay", str(folder), str(number)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def replay_here(folder: Path, number: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    spending = ours(folder, "http://127.0.0.1:9/v1", number)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert spending.cached == spending.paths == 6 * number
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"paths": spending.paths, "CPU seconds": seconds, "peak MB": after.ru_maxrss / 1024}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1200, help="per round and side")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--replies", type=int, default=100_000, help="of (b); 0 leaves it out")
    parser.add_argument("--replay", nargs=2, metavar=("FOLDER", "QUESTIONS"), help=argparse.SUPPRESS)
    parser.add_argument("--distilabel", nargs=2, metavar=("URL", "QUESTIONS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.distilabel:
        distilabel_here(arguments.distilabel[0], int(arguments.distilabel[1]))
        return
    if arguments.replay:
        replay_here(Path(arguments.replay[0]), int(arguments.replay[1]))
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what, value in rate(folder / "rate", arguments.requests // 6, arguments.rounds).items():
            print(f"{what:<28} {value:9.2f}")
        for share in (10, 1) if arguments.replies else ():
            found = replay(folder / f"replay-{share}", arguments.replies // 6 // share)
            print("  ".join(f"{what} {value:,.1f}" for what, value in found.items()))


if __name__ == "__main__":
    main()
