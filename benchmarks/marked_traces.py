"""Judges on traces whose first wrong step people have marked (BIG-Bench Mistake).

    python benchmarks/marked_traces.py --data DIR --to FOLDER [--judge arithmetic] [--traces N] [--as-marked]

DIR holds `mistakes/*.jsonl` as published (WHGTyen/BIG-Bench-Mistake): `input`, `steps`, `target`, `answer`, and
`mistake_index` (null: no wrong step). Written to FOLDER: questions, ready paths, labels and a config, as a user would
have them; then `qrdistill generate`, `label --from` and `study filter --judge-only` run on them. `--judge` is a
registered judge, or a judge's section in YAML. `--traces`: a fixed sample of so many, over all files.

A trace without a marked step is sound, one with it spurious where its answer is right and else wrong. A trace without
a marked step whose answer is wrong contradicts itself: it is left out, unless `--as-marked` counts it as sound.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml


def traces(data: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(id, family, row) of every trace."""
    for file in sorted((data / "mistakes").glob("*.jsonl")):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines()):
            yield f"{file.stem}-{number}", file.stem, json.loads(line)


def sample(rows: Sequence[tuple[str, str, dict[str, Any]]], size: int) -> list[tuple[str, str, dict[str, Any]]]:
    """A fixed lot: a larger sample holds a smaller one."""
    return sorted(rows, key=lambda row: hashlib.sha256(row[0].encode()).hexdigest())[:size]


def write(rows: Sequence[tuple[str, str, dict[str, Any]]], to: Path, judge: Any, *, as_marked: bool) -> None:
    to.mkdir(parents=True, exist_ok=True)
    questions, paths = [], []
    for name, family, row in rows:
        right, wrong_step = row["answer"] == row["target"], row["mistake_index"]
        label = ("spurious" if right else "wrong") if wrong_step is not None else "sound"
        questions.append({"id": name, "question": row["input"], "answer": row["target"], "family": family})
        paths.append(
            {
                "question_id": name,
                "style": "chain_of_thought",
                "text": "\n".join(row["steps"]),
                "label": label if right or wrong_step is not None or as_marked else "unsure",
                "first_wrong_step": None if wrong_step is None else wrong_step + 1,
            }
        )
    for file, lines in (("questions.jsonl", questions), ("paths.jsonl", paths)):
        (to / file).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    config = {
        "name": "marked",
        "questions": {"task": "jsonl", "train_file": str(to / "questions.jsonl"), "kind": "text", "dev": 0, "test": 0},
        "teachers": [{"kind": "replay", "name": "traces", "file": str(to / "paths.jsonl")}],
        "paths": {"styles": ["chain_of_thought"]},
        "filter": {"judges": [judge], "contamination": None},
        "students": [{"name": "none", "model": "lab:mistral-tiny"}],
    }
    (to / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mistakes/")
    parser.add_argument("--to", type=Path, required=True, help="where everything is written")
    parser.add_argument("--judge", default="arithmetic", help="a registered judge, or {kind: ..., ...}")
    parser.add_argument("--traces", type=int, default=None, help="only so many, a fixed sample")
    parser.add_argument("--as-marked", action="store_true", help="count contradictory traces as sound")
    given = parser.parse_args()
    to: Path = given.to.resolve()
    rows = list(traces(given.data))
    write(
        rows if given.traces is None else sample(rows, given.traces),
        to,
        yaml.safe_load(given.judge),
        as_marked=given.as_marked,
    )
    config, run = str(to / "config.yaml"), str(to / "runs" / "marked")
    for command in (
        ["generate", config, "--run-dir", run],
        ["label", run, "--from", str(to / "paths.jsonl")],
        ["study", "filter", config, "--judge-only", "--labels", run, "--run-dir", str(to / "runs" / "judges")],
    ):
        print("qrdistill", *command, flush=True)
        done = subprocess.run([sys.executable, "-m", "qrdistill", *command, *(["-q"] if command[0] != "label" else [])])
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
