"""`qrdistill init`: a folder with a commented config and sample data that runs as it is."""

from __future__ import annotations

import json
from pathlib import Path

from qrdistill.base.errors import InputError
from qrdistill.base.plugins.presets import embedded_default
from qrdistill.base.settings import checked_name
from qrdistill.base.store import write_text
from qrdistill.commands.starter_from import map_columns, paths_teacher, questions_section

_QUESTION_COUNT, _STEPS = 323, 90  # 19 * 17 sums, each once

_CONFIG = """\
# A run that works as it is: two toy students learn sums from {num_paths} ready paths in about a minute on two cores.
# Every key is optional unless said otherwise; a wrong key is refused with its line. All keys: docs/reference/config.md
#   1. see it work      qrdistill run {name}/config.yaml      (plan first: --dry-run; then open runs/{name}/report.html)
#   2. your questions   put them into questions.jsonl, or: qrdistill init my-task --from my-table.csv
#   3. your paths       a teacher writes them: uncomment one below; or put your own into paths.jsonl
#   4. your students    folders or hub ids instead of the toys
name: {name}
seed: 0

{questions}

{teachers}

paths:
  styles: [{styles}]     # those that paths are asked for; also: vanilla, tree_of_thoughts, backward, facts, or your own
  # budget_usd: 5             # a hard stop; run again with more to go on

filter:
  answer: true                # drop paths whose final answer is wrong
  # judges: [gemini]          # then let a teacher judge the steps
  undecided: drop             # what an unclear verdict means

router:
  kind: learned               # or all, random, style, fixed_loss, best_style, bandit, balanced

students:                     # any number, any families; these two come with qrdistill and are toys
{students}
  # - {{name: qwen, model: Qwen/Qwen3-1.7B, lora: {{rank: 16}}, learning_rate: 2.0e-4}}

train:
  steps: {steps}                   # --dry-run says how many passes over the paths that is: one to ten are usual
  paths_per_step: 16
  warmup: 10

evaluate:
  styles: best_on_dev         # the untrained students answer too: report.html begins with what training changed
"""
_QUESTIONS = """\
questions:
  task: jsonl                 # or gsm8k, math, arc_challenge, ..., reasoning_gym:<task>, hub
  file: questions.jsonl       # id, split (train | dev | test), question, gold
  kind: number                # number | math | choice | yes_no | nli | text | date | module:function
  train: null                 # null: all there are
  dev: null
  test: null"""
_READY = """\
  - name: ready               # replays paths that somebody already wrote
    kind: replay
    file: paths.jsonl         # question_id, style, text"""
_ASKED = """\
  - name: gemini              # any OpenAI-compatible endpoint: also vLLM, Ollama, OpenRouter
    kind: openai
    model: gemini-2.5-pro
    base_url: https://generativelanguage.googleapis.com/v1beta/openai/
    api_key_env: GEMINI_API_KEY        # the variable's name; the key itself stays in the environment
    price: {input: 1.25, output: 10}   # dollars per million tokens; check your provider"""
_TEMPLATES = (
    "{name} has {a} {thing}. {name} buys {b} more. How many {thing} does {name} have?",
    "There are {a} {thing} in a box and {b} {thing} in a bag. How many {thing} are there in all?",
    "{name} finds {b} {thing} and already had {a}. How many {thing} is that together?",
)


def _students() -> str:
    """Those of the embedded default, which need no download."""
    lines = [
        ", ".join(f"{key}: {json.dumps(value)}" for key, value in student.items())
        for student in embedded_default().sections["students"]
    ]
    return "\n".join(f"  - {{{line}}}" for line in lines)


def write_starter(folder: Path, source: Path | None = None) -> list[str]:
    """Writes config.yaml, and sample data where no `source` (a table of questions) is given; returns the files' names.

    Raises InputError where the folder has files, or the table has no column for questions or answers.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty; choose another name")
    name = folder.resolve().name
    try:
        checked_name(name)
    except ValueError as error:
        raise InputError(f"{folder}: the run gets the folder's name, and {name!r} cannot be one: {error}") from None
    asked = "\n".join(f"  # {line[2:]}" for line in _ASKED.splitlines())
    if source is not None:
        mapped = map_columns(source)
        ready = paths_teacher(source, folder, mapped, "chain_of_thought")
        text = _config(
            name,
            questions=questions_section(source, folder, mapped),
            teachers=f"teachers:\n{ready}\n{asked}" if ready else f"teachers:\n{_ASKED}",
            styles="chain_of_thought" if ready else "chain_of_thought, program",
            num_paths="the table's" if ready else "its teacher's",
            steps=200,
        )
        _, _, text = text.partition("\n")  # the first line speaks of the sample
        write_text(folder / "config.yaml", f"# {name}: from {source.name}; look at the mapped columns below.\n{text}")
        return ["config.yaml"]
    questions, paths = _sample()
    teachers = f"teachers:\n{_READY}\n{asked}"
    text = _config(
        name,
        questions=_QUESTIONS,
        teachers=teachers,
        styles="chain_of_thought, program",
        num_paths=str(len(paths)),
        steps=_STEPS,
    )
    write_text(folder / "config.yaml", text)
    for file, rows in (("questions.jsonl", questions), ("paths.jsonl", paths)):
        write_text(folder / file, "".join(json.dumps(row) + "\n" for row in rows))
    return ["config.yaml", "questions.jsonl", "paths.jsonl"]


def _config(name: str, **parts: object) -> str:
    return _CONFIG.format(students=_students(), name=name, **parts)


def _sample() -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Sums up to 39, each pair of numbers once; two paths for each training question."""
    questions: list[dict[str, str]] = []
    paths: list[dict[str, str]] = []
    things = ("pens", "apples", "stamps", "coins", "shells", "cards", "books", "eggs")
    names = ("Ben", "Ann", "Tom", "Eva", "Sam", "Lea")
    for number in range(_QUESTION_COUNT):
        have, more = 2 + number * 7 % 19, 3 + number * 11 % 17
        thing, person = things[number % len(things)], names[number % len(names)]
        total, split = have + more, ("test", "dev", "train", "train", "train")[(have + 2 * more) % 5]
        identity = f"q{number + 1}"
        text = _TEMPLATES[number % len(_TEMPLATES)].format(name=person, a=have, b=more, thing=thing)
        questions.append({"id": identity, "split": split, "question": text, "gold": str(total)})
        if split == "train":
            thought = f"There are {have} {thing} first.\n{have} + {more} = {total}.\nThe answer is {total}."
            program = f"x = {have}\ny = {more}\nprint(x + y)  # {total}\nThe answer is {total}."
            paths += [
                {"question_id": identity, "style": "chain_of_thought", "text": thought},
                {"question_id": identity, "style": "program", "text": program},
            ]
    return questions, paths
