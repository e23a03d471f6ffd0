"""The paper's eight tasks as data: where each lies, how a row becomes a question, how it is compared.

Every entry reads the hub's schema, from the hub or from local files in the same schema
(`questions.train_file`, `questions.test_file`). Counts and licences: docs/tasks.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrdistill.answers.statements import statements
from qrdistill.base.errors import ConfigError
from qrdistill.base.records import Question
from qrdistill.questions.config import QuestionsConfig
from qrdistill.questions.from_rows import Draft, Places, assemble, gold_letter, options_of, with_options
from qrdistill.questions.read_rows import Row


@dataclass(frozen=True)
class Task:
    """`hub` None: no copy on the hub that we would rely on; `places` lists the hub's splits by ours."""

    hub: str | None
    places: Places
    build: Callable[[Row, Mapping[str, Any]], Draft | None]
    kinds: tuple[str, ...]
    licence: str
    options: tuple[str, ...] = ()  # what `questions.options` may hold
    source: str = ""  # where to get the files, where the hub has none


def gsm8k(row: Row, options: Mapping[str, Any]) -> Draft:
    """The gold answer stands after `####` in the worked solution."""
    solution, mark, gold = row.text("answer").rpartition("####")
    if not mark:
        raise row.error(f"no '#### <number>' in the answer {solution or gold!r:.60}")
    return Draft(row.text("question"), gold.strip(), "number", "arithmetic")


def mathematics(row: Row, options: Mapping[str, Any]) -> Draft | None:
    r"""The gold answer is the last `\boxed{}` of the worked solution."""
    wanted = options.get("levels")
    level = str(row.value.get("level", "")).removeprefix("Level ").strip()
    if wanted is not None and level not in {str(one) for one in wanted}:
        return None
    boxed = [found.text for found in statements(row.text("solution")) if found.how == "boxed"]
    if not boxed:
        raise row.error(r"no \boxed{...} in the solution")
    family = str(row.value.get("type") or "mathematics").lower().replace(" ", "_").replace("&", "and")
    return Draft(row.text("problem"), boxed[-1], "math", family, metadata={"level": level})


def arc(row: Row, options: Mapping[str, Any]) -> Draft:
    return _choice(row, "science")


def commonsense_qa(row: Row, options: Mapping[str, Any]) -> Draft:
    """The concept that the question was written for is not shown."""
    return _choice(row, "commonsense")


def _choice(row: Row, family: str) -> Draft:
    choices = row.get("choices")
    shown = options_of(row, choices)
    letter = gold_letter(row, shown, choices["label"], row.text("answerKey"))
    text = with_options(row.text("question"), shown)
    return Draft(text, letter, "choice", family, id=row.text("id"), metadata={"options": shown})


def date_understanding(row: Row, options: Mapping[str, Any]) -> Draft:
    """BIG-bench's rows: `inputs` opens with "Q:" and may list its choices; the target is MM/DD/YYYY.

    Open by default; `options: {choices: true}` asks with the choices, answered by letter.
    """
    text = row.text("inputs").removeprefix("Q:").strip()
    text = text.removesuffix("A:").rstrip()
    lines = [line for line in text.splitlines() if not line.strip().startswith("choice:")]
    text = "\n".join(lines).strip()
    targets = row.get("targets")
    if not isinstance(targets, list) or len(targets) != 1:
        raise row.error(f"one target is expected, not {targets!r:.60}")
    if not options.get("choices"):
        return Draft(text, targets[0], "date", "dates")
    texts = row.get("multiple_choice_targets")
    shown = options_of(row, texts)
    letter = gold_letter(row, shown, texts, targets[0])
    return Draft(with_options(text, shown), letter, "choice", "dates", metadata={"options": shown})


NLI_LABELS = ("entailment", "neutral", "contradiction")


def anli(row: Row, options: Mapping[str, Any]) -> Draft:
    label = row.get("label")
    if label not in (0, 1, 2):
        raise row.error(f"label has to be 0 (entailment), 1 (neutral) or 2 (contradiction), not {label!r}")
    text = (
        f"Premise: {row.text('premise')}\nHypothesis: {row.text('hypothesis')}\nEntailment, neutral or contradiction?"
    )
    return Draft(text, NLI_LABELS[label], "nli", "inference", id=row.text("uid"))


def strategy_qa(row: Row, options: Mapping[str, Any]) -> Draft:
    """The facts and the question's term are not shown: finding them is the task."""
    answer = row.get("answer")
    if not isinstance(answer, bool):
        raise row.error(f"answer has to be true or false, not {answer!r}")
    return Draft(row.text("question"), "yes" if answer else "no", "yes_no", "strategy", id=row.text("qid"))


def tabmwp(row: Row, options: Mapping[str, Any]) -> Draft:
    """A table and a question; multi-choice rows are compared by option, the others as number or text."""
    title = row.value.get("table_title")
    text = f"Table: {title}\n" if title else "Table:\n"
    text += f"{row.text('table')}\n{row.text('question')}"
    unit = row.value.get("unit")
    if unit:
        text += f" (unit: {unit})"
    gold = str(row.get("answer")).strip()
    identity = str(row.value["id"]) if "id" in row.value else None
    family = f"grade_{row.value['grade']}" if row.value.get("grade") is not None else "tables"
    choices = row.value.get("choices")
    if choices:
        shown = options_of(row, choices)
        letter = gold_letter(row, shown, choices, gold)
        return Draft(with_options(text, shown), letter, "choice", family, id=identity, metadata={"options": shown})
    kind = "number" if str(row.value.get("ans_type")) in ("integer_number", "decimal_number") else "text"
    return Draft(text, gold, kind, family, id=identity)


def _splits(**names: str) -> Places:
    return {ours: [(None, theirs)] for ours, theirs in names.items()}  # type: ignore[return-value]


MATH_SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)

EIGHT: dict[str, Task] = {
    "gsm8k": Task(
        "openai/gsm8k", {"train": [("main", "train")], "test": [("main", "test")]}, gsm8k, ("number",), "MIT"
    ),
    "math": Task(
        "EleutherAI/hendrycks_math",
        {
            "train": [(subject, "train") for subject in MATH_SUBJECTS],
            "test": [(subject, "test") for subject in MATH_SUBJECTS],
        },
        mathematics,
        ("math",),
        "MIT",
        options=("levels", "subjects"),
    ),
    "arc_challenge": Task(
        "allenai/ai2_arc",
        {
            ours: [("ARC-Challenge", theirs)]
            for ours, theirs in (("train", "train"), ("dev", "validation"), ("test", "test"))
        },  # type: ignore[misc]
        arc,
        ("choice",),
        "CC BY-SA 4.0",
    ),
    # the hub's test split has no answers: its validation split is our test split
    "commonsense_qa": Task(
        "tau/commonsense_qa", _splits(train="train", test="validation"), commonsense_qa, ("choice",), "MIT"
    ),
    "date_understanding": Task(
        "tasksource/bigbench",
        {"train": [("date_understanding", "train")], "test": [("date_understanding", "validation")]},
        date_understanding,
        ("date", "choice"),
        "Apache-2.0",
        options=("choices",),
    ),
    "anli": Task(
        "facebook/anli",
        _splits(train="train_r3", dev="dev_r3", test="test_r3"),
        anli,
        ("nli",),
        "CC BY-NC 4.0",
        options=("round",),
    ),
    "strategy_qa": Task("ChilleD/StrategyQA", _splits(train="train", test="test"), strategy_qa, ("yes_no",), "MIT"),
    "tabmwp": Task(
        None,
        {},
        tabmwp,
        ("number", "text", "choice"),
        "CC BY-NC-SA 4.0",
        source="problems_train.json, problems_dev.json and problems_test.json from the PromptPG repository (data/tabmwp)",
    ),
}


def load(config: QuestionsConfig, *, seed: int, base_dir: Path) -> Iterator[Question]:
    """The questions of one of the eight tasks."""
    task = EIGHT[config.task]
    unknown = [name for name in config.options if name not in task.options]
    if unknown:
        raise ConfigError(
            f"unknown option {unknown[0]!r} for {config.task}; known: {', '.join(task.options) or 'none'}",
            key=f"questions.options.{unknown[0]}",
        )
    local = any((config.file, config.train_file, config.dev_file, config.test_file))
    if not local and not config.hub and task.hub is None:
        raise ConfigError(
            f"{config.task} is read from local files: {task.source}; name them in questions.train_file, dev_file and test_file",
            key="questions.train_file",
        )
    if config.fields or config.kind:
        raise ConfigError(
            f"{config.task} knows its own fields and kind; use task: jsonl or hub to map yours",
            key="questions.fields" if config.fields else "questions.kind",
        )
    places = _places(config, task)
    return assemble(
        config,
        lambda row: task.build(row, config.options),
        places,
        seed=seed,
        base_dir=base_dir,
        hub=task.hub,
    )


def _places(config: QuestionsConfig, task: Task) -> Places:
    if config.task == "math" and (subjects := config.options.get("subjects")) is not None:
        names = [str(subject) for subject in subjects] if isinstance(subjects, list) else []
        if not names or (odd := set(names) - set(MATH_SUBJECTS)):
            odd = names and sorted(set(names) - set(MATH_SUBJECTS))
            raise ConfigError(
                f"subjects have to be a list out of {', '.join(MATH_SUBJECTS)}, not {odd or subjects!r}",
                key="questions.options.subjects",
            )
        return {split: [part for part in parts if part[0] in names] for split, parts in task.places.items()}
    if config.task == "anli" and (number := config.options.get("round")) is not None:
        rounds = {"1": ["r1"], "2": ["r2"], "3": ["r3"], "all": ["r1", "r2", "r3"]}.get(str(number))
        if rounds is None:
            raise ConfigError(f"round has to be 1, 2, 3 or all, not {number!r}", key="questions.options.round")
        return {
            split: [(None, f"{name}_{r}") for r in rounds]
            for split, name in (("train", "train"), ("dev", "dev"), ("test", "test"))
        }  # type: ignore[return-value]
    if not task.places:  # a hub id that the user names
        return _splits(train="train", dev="dev", test="test") if config.hub else {}
    return task.places
