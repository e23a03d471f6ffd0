"""What a plan says of a training beside what the training takes: peak memory, bytes on disk, seconds of a step.

    python benchmarks/plan_check.py --data DIR MODEL... [--forms full,lora,nf4] [--steps 2] [--paths 3] [--rounds 1]

DIR: with GSM8K's example_model_solutions.jsonl (see examples/real/make_gsm8k.py). MODEL: model folders, or names that
a config may have (lab:mistral-tiny). Each figure is of a process of its own; the plan's is the dry run's, with rates
measured anew. Linux only. Seconds are CPU seconds of one thread, for the machine may be busy: with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from qrdistill.base.progress import Silent

ROOT = Path(__file__).parents[1]
FORMS: dict[str, dict[str, Any]] = {"full": {}, "lora": {"lora": {}}, "nf4": {"lora": {}, "quantize": "nf4"}}
CALCULATIONS = {"name": "calculations", "instruction": "Write the calculations only.", "hint": "Calculate."}
FAR = 0.15


def resident(name: str) -> int:
    """Bytes of VmRSS (now) or VmHWM (highest since the last reset)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def forget_peak() -> None:
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


class Meter(Silent):
    """Of the stage `train`: what is there before it, peak while students load, peak of the steps and what follows, CPU seconds of the steps."""

    def __init__(self) -> None:
        self.base = self.load = 0
        self.began = self.ended = 0.0
        self.warnings: list[str] = []

    def start(self, stage: str = "", total: int | None = None) -> None:
        if stage == "train":
            self.load = resident("VmHWM")
            forget_peak()
            self.began = time.process_time()

    def done(self, **facts: object) -> None:
        if not self.load:
            forget_peak()
            self.base = resident("VmRSS")

    def advance(self, steps: int = 1, **facts: object) -> None:
        self.ended = time.process_time()


def measure(config: Path, folder: Path) -> None:
    """In a process of its own: trains, and prints what it took."""
    import qrdistill

    meter = Meter()
    qrdistill.run(config, run_dir=folder, until="train", progress=meter)
    facts = {"base": meter.base, "load": meter.load, "train": resident("VmHWM")}
    print(json.dumps({**facts, "seconds": meter.ended - meter.began}))


def call(*words: str | Path, cache: Path) -> dict[str, Any]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, words)], env=environment, cwd=ROOT, text=True, capture_output=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1] if "--measure" in words else done.stdout)


def write_config(place: Path, student: dict[str, Any], steps: int, paths: int) -> Path:
    config = {
        "name": "plan-check",
        "questions": {"task": "jsonl", "file": "questions.jsonl", "kind": "number", "train": 40, "dev": 1, "test": 1},
        "teachers": [{"name": "gpt3", "kind": "replay", "file": "paths.jsonl"}],
        "paths": {"styles": ["chain_of_thought", CALCULATIONS]},
        "router": {"kind": "all"},
        "students": [student],
        "train": {
            "steps": steps,
            "paths_per_step": paths,
            "warmup": 1,
            "keep_finished": True,
            "device": "cpu",
            "gradient_checkpointing": False,
        },
    }
    (place / "config.yaml").write_text(json.dumps(config))
    return place / "config.yaml"


def compare(place: Path, model: str, form: str, options: argparse.Namespace) -> None:
    """Prints a row for each figure of one student."""
    known = str(Path(model).resolve()) if Path(model).is_dir() else model
    config = write_config(place, {"name": "s", "model": known, **FORMS[form]}, options.steps, options.paths)
    told: list[dict[str, Any]] = []
    seen: list[dict[str, Any]] = []
    for round in range(options.rounds):
        folder = place / f"run-{Path(model).name}-{form}-{round}"
        plan = call(
            "-m",
            "qrdistill",
            "run",
            config,
            "--run-dir",
            folder,
            "--dry-run",
            "--json",
            cache=place / f"cache-{round}-{form}",
        )
        takes = plan["takes"]
        told.append({**takes["stages"], "checkpoint": takes["checkpoint"], "export": takes["exports"]["s"]})
        told[-1]["seconds"] = takes["seconds"] / options.steps
        took = call(__file__, "--measure", config, folder, cache=place / f"cache-{round}-{form}")
        [step] = (folder / "checkpoints").glob("step-*")
        took["checkpoint"], took["export"] = size_of(step), size_of(folder / "students" / "s")
        took["seconds"] /= options.steps
        seen.append(took)
        shutil.rmtree(folder)
    name = Path(model).name.partition(":")[2] or Path(model).name
    for key, unit in (
        ("load", "MB"),
        ("train", "MB"),
        ("checkpoint", "MB"),
        ("export", "MB"),
        ("seconds", "s"),
    ):
        scale = 1e6 if unit == "MB" else 1
        here = statistics.median(each[key] for each in seen) / scale
        said = statistics.median(each[key] for each in told) / scale
        ratio = statistics.median(one[key] / other[key] for one, other in zip(told, seen, strict=True))
        far = "" if abs(ratio - 1) <= FAR else "off"
        print(f"| {name} {form} | {key} | {said:,.2f} {unit} | {here:,.2f} {unit} | {ratio:.2f} | {far} |", flush=True)


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("models", nargs="*", metavar="MODEL")
    options.add_argument("--data", type=Path, metavar="DIR")
    options.add_argument("--forms", default="full,lora,nf4")
    options.add_argument("--steps", type=int, default=2)
    options.add_argument("--paths", type=int, default=3)
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--measure", nargs=2, type=Path, metavar=("CONFIG", "FOLDER"), help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.measure:
        measure(*chosen.measure)
        return
    with tempfile.TemporaryDirectory() as work:
        place = Path(work)
        make = [sys.executable, "examples/real/make_gsm8k.py", "--data", str(chosen.data.resolve()), "--to", work]
        subprocess.run(make, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        print("| student | | plan | run | plan over run | |\n| --- | --- | --- | --- | --- | --- |")
        for model in chosen.models:
            for form in chosen.forms.split(","):
                compare(place, model, form, chosen)


if __name__ == "__main__":
    main()
