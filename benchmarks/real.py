"""Pretrained models on real GSM8K paths, against the peers that flatter us least: one thread, CPU seconds.

    OMP_NUM_THREADS=1 python benchmarks/real.py MODEL --data DIR [--paths 10] [--rounds 3] [--autocast none]
        [--arms ours,ours_questions,loop,loop_head,trl,trl_by_length]

MODEL: a model folder (examples/real/get_models.py makes two). DIR holds gsm8k/example_model_solutions.jsonl: four LLMs'
solutions of each question, of which the first 400 are taken. TRL's rows need trl 1.16; its bfd packing is left out,
since TRL supports that with FlashAttention alone.

ours: `train` as users run it. ours_questions: with `train.order: questions`, so that paths of one question meet in a
step and share its prefix. loop: a careful user's loop on transformers, paths sorted by length and padded to the longest
of a batch. loop_head: the same, logits from the first label on. trl, trl_by_length: SFT without packing or gradient
checkpointing, in any order and in groups of similar length; trl_checkpointing: with it, which is TRL's default.

Each arm of each round is a process of its own, one after the other, since memory for several is rare; its first step is
not counted. Where batches are of similar length, rounds are spread evenly over all batches of an epoch. Rates are useful
(non-pad) tokens per CPU second, update included; for TRL from the beginning of a step to its end, without collation.
Memory is the highest over what is resident when the model and the paths are loaded.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import memory
import torch
import torch.nn.functional as F

import training
from qrdistill.base.records import Question, ReasoningPath, path_id
from qrdistill.paths.styles import STYLES, student_prompt
from qrdistill.routing.config import RouterConfig
from qrdistill.students.config import StudentConfig
from qrdistill.students.loading import load_student
from qrdistill.students.student import Student
from qrdistill.students.tokens import Encoded
from qrdistill.training.config import MutualConfig, TrainConfig
from qrdistill.training.plan import TrainData, TrainPlan
from qrdistill.training.train import train

_QUESTIONS = 400

Solved = list[tuple[str, list[tuple[str, str]]]]
"""Questions, each with (style, text) of its paths."""


def solved(data: Path) -> Solved:
    lines = (data / "gsm8k" / "example_model_solutions.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines[:_QUESTIONS]]
    texts = [[value["solution"] for value in row.values() if isinstance(value, dict)] for row in rows]
    return [(row["question"], list(zip(STYLES, own, strict=False))) for row, own in zip(rows, texts, strict=True)]


def encoded(options: argparse.Namespace) -> list[Encoded]:
    student = load_student(StudentConfig(name="student", model=str(options.model)), base_dir=Path())
    return [
        student.encode(student_prompt(question, STYLES[style]), text)
        for question, paths in solved(options.data)
        for style, text in paths
    ]


class Steps(memory.Meter):
    """In an arm's process: says what its second step took, and ends it."""

    def __init__(self) -> None:
        super().__init__()
        self.done, self.tokens, self.since = 0, 0, 0.0

    def start(self, stage: str = "", total: int | None = None) -> None:
        super().start(stage, total)
        self.since = time.process_time()

    def advance(self, steps: int = 1, **facts: object) -> None:
        if not facts:
            return
        super().advance()
        seconds, self.done = time.process_time() - self.since, self.done + 1
        if self.done == 2:
            sys.__stdout__.write(json.dumps([self.tokens, seconds, self.peak - self.loaded, str(facts.get("loss"))]))
            sys.__stdout__.flush()
            raise SystemExit
        self.tokens, self.since = 0, time.process_time()


def resident(model: Any) -> None:
    """Weights that are mapped from a file count as loaded, not as what the first step takes."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()


def of_round(batches: Sequence[Any], options: argparse.Namespace) -> Any:
    """The middle batch of one of `rounds` equal parts."""
    return batches[(2 * options.round + 1) * len(batches) // (2 * options.rounds)]


def ours(options: argparse.Namespace, turn: Steps, work: Path, **settings: Any) -> None:
    questions: dict[str, Question] = {}
    paths: list[ReasoningPath] = []
    for at, (text, own) in enumerate(solved(options.data)):
        name = f"q{at}"
        questions[name] = Question(id=name, split="train", task="t", family="f", kind="text", question=text, gold="1")
        paths += [
            ReasoningPath(
                id=path_id(0, name, "t", style, 0),
                question_id=name,
                teacher="t",
                style=style,
                prompt_hash="",
                text=path,
                answer="1",
            )
            for style, path in own
        ]
    inner = Student.forward

    def forward(self: Student, batch: Sequence[Encoded], **more: Any) -> Any:
        turn.tokens += sum(path.num_tokens for path in batch)
        return inner(self, batch, **more)

    Student.forward = forward
    config = TrainConfig(
        steps=2,
        paths_per_step=options.paths,
        warmup=0,
        schedule="constant",
        style_dropout=0,
        checkpoint_every=1000,
        autocast=options.autocast,
        **settings,
    )
    student = StudentConfig(name="student", model=str(options.model), learning_rate=1e-5)
    plan = TrainPlan([student], RouterConfig(kind="all"), MutualConfig(weight=0.0), config)
    train(
        TrainData(questions, paths, STYLES, None), plan, work / "run", base_dir=work, seed=options.round, progress=turn
    )


def loop(options: argparse.Namespace, turn: Steps, *, labels_only: bool) -> None:
    from transformers import AutoModelForCausalLM

    paths = sorted(encoded(options), key=lambda path: path.num_tokens)
    model: Any = AutoModelForCausalLM.from_pretrained(options.model).train()
    resident(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    batches = [paths[at : at + options.paths] for at in range(0, len(paths), options.paths)]
    turn.start()
    for batch in [of_round(batches, options)] * 2:
        longest, first = max(path.num_tokens for path in batch) + 1, min(len(path.prompt_ids) for path in batch)
        tokens = torch.zeros(len(batch), longest, dtype=torch.long)
        mask, labels = torch.zeros_like(tokens), torch.full_like(tokens, -100)
        for row, path in enumerate(batch):
            ids = torch.tensor([*path.prompt_ids, *path.response_ids])
            tokens[row, : len(ids)], mask[row, : len(ids)] = ids, 1
            labels[row, len(path.prompt_ids) : len(ids)] = ids[len(path.prompt_ids) :]
        keep = longest - first + 1 if labels_only else 0
        with torch.autocast("cpu", torch.bfloat16, enabled=options.autocast == "bfloat16"):
            logits = model(input_ids=tokens, attention_mask=mask, use_cache=False, logits_to_keep=keep).logits
        loss = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[:, -logits.shape[1] :][:, 1:].flatten())
        del logits
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        turn.tokens = sum(path.num_tokens for path in batch)
        turn.advance(loss=float(loss.detach()))


def trl(options: argparse.Namespace, turn: Steps, work: Path, **settings: Any) -> None:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            turn.since = time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turn.tokens = meter.tokens - options.paths  # a path's last token is read, and predicts nothing
            turn.advance(loss="nan")
            meter.tokens = 0

    settings |= {"bf16": options.autocast == "bfloat16", "learning_rate": 1e-5}
    settings["per_device_train_batch_size"] = options.paths
    trainer, meter = training.trl_trainer(options.model, encoded(options), work, 2, copies=1, **settings)
    order = list(trainer._get_train_sampler(trainer.train_dataset))
    batches = [order[at : at + options.paths] for at in range(0, len(order) - options.paths + 1, options.paths)]
    tokens = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    batches.sort(key=lambda batch: sum(tokens[row] for row in batch))  # groups begin with their longest batch
    steps = of_round(batches, options) * 2
    trainer._get_train_sampler = lambda dataset=None: steps
    trainer.add_callback(Clock())
    resident(trainer.model)
    turn.start()
    trainer.train()


def run_arm(options: argparse.Namespace, turn: Steps, work: Path) -> None:
    by_length = {"train_sampling_strategy": "group_by_length"}
    {
        "ours": lambda: ours(options, turn, work),
        "ours_questions": lambda: ours(options, turn, work, order="questions"),
        "loop": lambda: loop(options, turn, labels_only=False),
        "loop_head": lambda: loop(options, turn, labels_only=True),
        "trl": lambda: trl(options, turn, work),
        "trl_by_length": lambda: trl(options, turn, work, **by_length),
        "trl_checkpointing": lambda: trl(options, turn, work, gradient_checkpointing=True, **by_length),
    }[options.arm]()


def compare(options: argparse.Namespace) -> str:
    """All arms, round by round; a markdown table whose ratios are to the first."""
    names = options.arms.split(",")
    taken: dict[str, list[list[Any]]] = {name: [] for name in names}
    for at in range(options.rounds):
        for name in names:
            command = [sys.executable, *sys.argv, "--round", str(at), "--arm", name]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            taken[name].append(json.loads(said))
            print(name, said, file=sys.stderr, flush=True)
    rates = {name: sum(s[0] for s in steps) / sum(s[1] for s in steps) for name, steps in taken.items()}
    peaks = {name: max(step[2] for step in steps) for name, steps in taken.items()}
    first = f"{names[0]} over it | MB | {names[0]} of it"
    rows = [f"| {options.model.name}, {options.autocast} | tokens/s | {first} | tokens a step |", "| --- " * 6 + "|"]
    for name in names:
        tokens = sum(step[0] for step in taken[name]) / options.rounds
        ratio, share = rates[names[0]] / rates[name], peaks[names[0]] / peaks[name]
        rows.append(f"| {name} | {rates[name]:.1f} | {ratio:.2f} | {peaks[name]:.0f} | {share:.2f} | {tokens:.0f} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--arms", default="ours,ours_questions,loop,loop_head,trl,trl_by_length")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--round", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--paths", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--autocast", choices=("none", "bfloat16"), default="none")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if not options.arm:
        print(compare(options))
        return
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        run_arm(options, Steps(), Path(place))


if __name__ == "__main__":
    main()
