"""`qrdistill init`: a folder with a commented config and sample data that runs as it is."""

from __future__ import annotations

import json
from pathlib import Path

from qrdistill.base.errors import InputError
from qrdistill.base.plugins.presets import embedded_default
from qrdistill.base.settings import checked_name
from qrdistill.base.store import write_text

_CONFIG = """\
# qrdistill config. Every key is optional unless said otherwise; a wrong key is refused with its line.
# Plan first: qrdistill run {name}/config.yaml --dry-run      All keys: qrdistill schema
name: {name}
seed: 0

questions:
  task: jsonl                 # or gsm8k, math, arc_challenge, ..., reasoning_gym:<task>, hub
  file: questions.jsonl       # id, split (train | dev | test), question, gold
  kind: number                # number | math | choice | yes_no | nli | text | date | module:function
  train: null                 # null: all there are
  dev: null
  test: null

teachers:
  - name: ready               # replays paths that somebody already wrote
    kind: replay
    file: paths.jsonl         # question_id, style, text
  # - name: gemini            # or ask a model: any OpenAI-compatible endpoint
  #   kind: openai
  #   model: gemini-2.5-pro
  #   base_url: https://generativelanguage.googleapis.com/v1beta/openai/
  #   api_key_env: GEMINI_API_KEY        # the variable's name; the key itself stays in the environment
  #   price: {{input: 1.25, output: 10}}   # dollars per million tokens; check your provider

paths:
  styles: [vanilla, chain_of_thought, tree_of_thoughts, program, backward, facts]
  # budget_usd: 5             # a hard stop; run again with more to go on

filter:
  answer: true                # drop paths whose final answer is wrong
  # judges: [gemini]          # then let a teacher judge the steps
  undecided: drop             # what an unclear verdict means

router:
  kind: learned               # or all, random, style, fixed_loss, best_style, bandit, balanced

students:                     # any number, any families; folders or hub ids
{students}
  # - {{name: qwen, model: Qwen/Qwen3-1.7B, lora: {{rank: 16}}, quantize: nf4, learning_rate: 2.0e-4}}

train:
  steps: 20
  paths_per_step: 8

evaluate:
  styles: best_on_dev
"""


def _students() -> str:
    """Those of the embedded default, which need no download."""
    lines = [
        ", ".join(f"{key}: {json.dumps(value)}" for key, value in student.items())
        for student in embedded_default().sections["students"]
    ]
    return "\n".join(f"  - {{{line}}}" for line in lines)


def write_starter(folder: Path) -> Path:
    """Writes config.yaml, questions.jsonl and paths.jsonl; raises InputError where the folder has files."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty; choose another name")
    name = folder.resolve().name
    try:
        checked_name(name)
    except ValueError as error:
        raise InputError(f"{folder}: the run gets the folder's name, and {name!r} cannot be one: {error}") from None
    write_text(folder / "config.yaml", _CONFIG.format(students=_students(), name=name))
    questions, paths = _sample()
    for file, rows in (("questions.jsonl", questions), ("paths.jsonl", paths)):
        write_text(folder / file, "".join(json.dumps(row) + "\n" for row in rows))
    return folder


def _sample() -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    questions: list[dict[str, str]] = []
    paths: list[dict[str, str]] = []
    things = ("pens", "apples", "stamps", "coins", "shells", "cards")
    for number in range(30):
        have, more, thing = 2 + number % 9, 3 + number * 5 % 7, things[number % len(things)]
        total = have + more
        split = "test" if number % 5 == 4 else "dev" if number % 5 == 3 else "train"
        identity = f"q{number + 1}"
        questions.append(
            {
                "id": identity,
                "split": split,
                "question": f"Ben has {have} {thing}. He buys {more} more. How many {thing} does he have?",
                "gold": str(total),
            }
        )
        if split == "train":
            paths += [
                {
                    "question_id": identity,
                    "style": "chain_of_thought",
                    "text": f"Ben starts with {have} {thing}.\n{have} + {more} = {total}.\nThe answer is {total}.",
                },
                {
                    "question_id": identity,
                    "style": "program",
                    "text": f"x = {have}\ny = {more}\nprint(x + y)  # {total}\nThe answer is {total}.",
                },
            ]
    return questions, paths
