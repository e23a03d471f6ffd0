"""What a stage costs on large tables: `python benchmarks/tables.py --paths 100000 --paths 1000000`.

Makes a run folder of so many paths (six per question, columns written at once), then runs each part in a process of its
own and prints its CPU seconds and peak memory. `--parts filter,embed,start,show,report` chooses; `--shard-rows` writes the
tables in shards; `--folder` keeps what is made; without a filter every path is kept. `start` is all that training does before its first step, twice: with
nothing counted yet and again; `--tokenizer` names its model's folder (the lab's smallest student without it),
`--context` how many tokens it reads at most (so few that paths must be counted, or the default).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

PER_QUESTION = 6
STYLES = ("chain_of_thought", "program", "facts")
PARTS = ("filter", "embed", "start", "again", "show", "report")
COMMANDS = {
    "show": ("show", "{folder}", "paths", "--where", "decision=keep", "--where", "style=program", "--limit", "1"),
    "report": ("report", "{folder}"),
}
WORDS = [
    "first",
    "we",
    "look",
    "at",
    "what",
    "is",
    "given",
    "and",
    "write",
    "it",
    "down",
    "then",
    "the",
    "shop",
    "sells",
    "boxes",
    "of",
    "pens",
    "and",
    "each",
    "box",
    "holds",
    "the",
    "same",
    "number",
    "so",
    "we",
    "multiply",
    "what",
    "one",
    "box",
    "costs",
    "by",
    "how",
    "many",
    "there",
    "are",
    "and",
    "take",
    "away",
    "what",
    "was",
    "paid",
    "before",
    "the",
    "friends",
    "share",
    "the",
    "rest",
    "in",
    "equal",
    "parts",
    "which",
    "leaves",
    "every",
    "one",
    "of",
    "them",
    "with",
    "this",
    "much",
    "money",
    "at",
    "the",
    "end",
    "of",
    "the",
    "day",
]


def question(number: int) -> tuple[str, str]:
    """Its text and its gold answer."""
    one, two = 3 + number % 97, 2 + number // 97
    name = WORDS[number % len(WORDS)]
    return f"A shop ({name} {number}) sells {one} boxes with {two} pens in each box. How many pens are that?", str(
        one * two
    )


def text(number: int, sample: int) -> str:
    """About a hundred words; one path in ten states a wrong answer, one in twenty repeats another."""
    said = sample - 1 if (number + sample) % 20 == 19 and sample else sample
    _, gold = question(number)
    start = (number * 7 + said * 31) % len(WORDS)
    words = [WORDS[(start + place * (1 + said)) % len(WORDS)] for place in range(90)]
    lines = [" ".join(words[place : place + 15]) + f" {number + place}." for place in range(0, 90, 15)]
    answer = gold if (number + said) % 10 else str(int(gold) + 1)
    return "\n".join([*lines, f"The answer is {answer}."])


def make(folder: Path, paths: int, shard_rows: int | None) -> None:
    """A run folder as `load` and `generate` leave it."""
    from qrdistill.base.ownership import claim
    from qrdistill.base.records import Question, ReasoningPath, Truth, path_id
    from qrdistill.base.store import write_table

    def questions() -> Iterator[Question]:
        for number in range(count + 400):
            asked, gold = question(number)
            split = "train" if number < count else ("dev" if number % 2 else "test")
            if split != "train":
                asked = f"Somebody ({number}) has {number % 83} coins, finds {number % 71} more ones and loses two. How many?"
            name = f"{split}-{number}"
            yield Question(
                id=name, split=split, task="shop", family=f"f{number % 5}", kind="number", question=asked, gold=gold
            )

    def written() -> Iterator[ReasoningPath]:
        for number in range(paths):
            asked, sample = divmod(number, PER_QUESTION)
            style = STYLES[sample % 3]
            name = f"train-{asked}"
            yield ReasoningPath(
                id=path_id(0, name, "teacher", style, sample // 3),
                question_id=name,
                teacher="teacher",
                style=style,
                sample=sample // 3,
                prompt_hash="0" * 16,
                text=text(asked, sample),
                answer=None,
                prompt_tokens=60,
                completion_tokens=150,
                cost=0.0001,
            )

    count = -(-paths // PER_QUESTION)
    claim(folder)
    write_table(folder / "questions.parquet", Question, questions())
    more = {} if shard_rows is None else {"shard_rows": shard_rows}
    write_table(folder / "paths.parquet", ReasoningPath, written(), **more)
    write_table(folder / "truth.parquet", Truth, ())


def keep_all(folder: Path) -> None:
    """What a filter leaves that drops nothing: for a part that is measured without one."""
    from qrdistill.base.records import ReasoningPath, Verdict
    from qrdistill.base.store import read_batches, write_table

    ids = (
        name
        for batch in read_batches(folder / "paths.parquet", ReasoningPath, ["id"])
        for name in batch["id"].to_pylist()
    )
    rows = (Verdict(path_id=name, check="filter", outcome="keep") for name in ids)
    write_table(folder / "verdicts.parquet", Verdict, rows)


def finish(folder: Path) -> None:
    """Assignments, answers and scores, as training and evaluation leave them: a reading of every second path."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from qrdistill.base.records import Answer, Assignment
    from qrdistill.base.store import schema, write_json, write_table

    names = ("mistral", "gemma")
    ids = pa.concat_tables([pq.read_table(folder / "paths.parquet", columns=["id"])])["id"].to_pylist()[::2]
    rows = len(ids) * 2
    columns = {
        "round": np.zeros(rows, int),
        "step": np.arange(rows) // 24,
        "path_id": [name for name in ids for _ in names],
        "student": list(names) * len(ids),
        "probability": np.full(rows, 0.5),
        "chosen": np.arange(rows) % 3 > 0,
        "nll": np.full(rows, 0.7),
        "nll_step": np.arange(rows) // 24,
    }
    pq.write_table(pa.table(columns, schema=schema(Assignment)), folder / "assignments.parquet", compression="zstd")
    asked = pq.read_table(folder / "questions.parquet", filters=[("split", "!=", "train")])["id"].to_pylist()
    answers = [
        Answer(student=s, question_id=q, split=q.split("-")[0], style=style, text="so 4", answer="4", correct=place % 2 == 0, logprob=-3.0, tokens=9)
        for s in names
        for style in (*STYLES, "free")
        for place, q in enumerate(asked)
    ]  # fmt: skip
    write_table(folder / "answers.parquet", Answer, answers)
    write_json(folder / "manifest.json", {"qrdistill": "0", "format": 2, "stages": {}})
    write_json(folder / "config.yaml", config(folder).model_dump(mode="json"))
    lines = [
        json.dumps({"step": step, "loss": 1 / (step + 1), "nll": dict.fromkeys(names, 0.5)}) for step in range(500)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(lines))


def config(folder: Path):
    from qrdistill.runs.config import Config

    students = [{"name": name, "model": f"lab/{name}-tiny"} for name in ("mistral", "gemma")]
    return Config.model_validate(
        {"name": "large", "students": students, "paths": {"styles": list(STYLES)}, "filter": {"judges": []}}
    )


def work(folder: Path, part: str, tokenizer: str | None, tokens: int) -> dict[str, object]:
    """One part, in this process."""
    from qrdistill.base.progress import Silent
    from qrdistill.runs.context import Context

    context = Context(config(folder), folder, Silent())
    if part == "filter":
        from qrdistill.runs.work import filter

        return {key: value for key, value in filter(context).items() if key in ("generated", "kept", "dropped")}
    if part == "embed":
        from qrdistill.runs.work import embed

        if not (folder / "verdicts.parquet").exists():
            keep_all(folder)
        return dict(embed(context))
    if not (folder / "verdicts.parquet").exists():
        keep_all(folder)
    return start(context, tokenizer, tokens)


def start(context, tokenizer: str | None, context_tokens: int) -> dict[str, object]:
    """What training does with the pool before its first step, but for the models: seconds, and memory beside what was there."""
    from types import SimpleNamespace

    from transformers import AutoTokenizer

    from qrdistill.paths.styles import resolve_styles
    from qrdistill.routing.loss_ledger import Ledger
    from qrdistill.students.tokens import Codec
    from qrdistill.training.config import TrainConfig
    from qrdistill.training.data import Material, Order
    from qrdistill.training.pool import Pool
    from qrdistill.training.step_batches import StepBatches, pinned

    source = tokenizer or str(Path(__file__).parents[1] / "src/qrdistill/lab/students/mistral-tiny")
    codec = Codec(AutoTokenizer.from_pretrained(source), name="student", max_context=context_tokens)
    student = SimpleNamespace(name="student", codec=codec, encode=codec.encode)
    Pool(iter(()))  # loads what there is to load
    before, began = resident_mb(), time.process_time()
    pool = context.pool([])
    read = time.process_time() - began
    counts = context.folder.parent / "token_counts"
    material = Material({}, pool, [student], resolve_styles(context.config.paths.styles), counts=counts)  # pyright: ignore
    seconds = time.process_time() - began
    ledger, rows = Ledger(len(material.rows), ("student",)), range(len(material.rows))
    order = Order(np.array(rows), material.question_N, size=24, seed=0)
    batches = StepBatches(material, order, pinned(material, {}), ledger, config=TrainConfig(steps=50), seed=0)
    each = (resident_mb() - before) * 1e6 / len(pool)
    began = time.process_time()
    for step in range(50):
        batches.batch(step)
    return {
        "read_s": round(read, 2),
        "start_s": round(seconds, 2),
        "ms_a_path": round(1000 * (seconds - read) / len(pool), 4),
        "bytes_a_path": round(each),
        "ms_a_drawn_path": round(1000 * (time.process_time() - began) / 50 / 24, 2),
    }


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measured(folder: Path, part: str, options: argparse.Namespace) -> dict[str, object]:
    """A part in a process of its own: CPU seconds and peak memory, its threads and children included."""
    arguments = [sys.executable, __file__, "--work", part, "--folder", str(folder)]
    arguments += ["--tokenizer", options.tokenizer] if options.tokenizer else []
    arguments += ["--context", str(options.context)]
    if part in COMMANDS:
        arguments = [sys.executable, "-m", "qrdistill", *(word.format(folder=folder) for word in COMMANDS[part])]
    began = time.monotonic()
    child = os.spawnv(os.P_NOWAIT, sys.executable, arguments)
    _, status, usage = os.wait4(child, 0)
    if status:
        sys.exit(f"{part} ended with status {status}")
    cpu = usage.ru_utime + usage.ru_stime
    return {
        "part": part,
        "cpu_s": round(cpu, 1),
        "wall_s": round(time.monotonic() - began, 1),
        "peak_mb": usage.ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", type=int, action="append")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--shard-rows", type=int)
    parser.add_argument("--tokenizer")
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        print(json.dumps(work(options.folder, options.work, options.tokenizer, options.context)), flush=True)
        return
    for paths in options.paths or [100_000]:
        with tempfile.TemporaryDirectory() as temporary:
            folder = (options.folder or Path(temporary)) / f"runs-{paths}" / "large"
            if not (folder / "truth.parquet").exists():
                make(folder, paths, options.shard_rows)
            for part in options.parts.split(","):
                if part == "show" and not (folder / "assignments.parquet").exists():
                    finish(folder)
                print(json.dumps({"paths": paths, **measured(folder, part, options)}), flush=True)


if __name__ == "__main__":
    main()
