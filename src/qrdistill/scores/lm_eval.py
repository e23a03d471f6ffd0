"""A run's questions as a task of lm-evaluation-harness, and whether both agree.

    python -m qrdistill.scores.lm_eval RUN STUDENT FOLDER [--style STYLE] [--agree]

The task asks exactly what `evaluate` asked: the same questions, the prompt character by character
(chat template applied, style hint included), greedy, the same token limit. Two tasks are written:
one scores with `answers.check`, the other (numbers only) with the harness's own regular
expression and exact match, so that not even the answer checker is shared.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrdistill.base.errors import InputError
from qrdistill.base.ownership import claim
from qrdistill.base.records import FREE, Answer, Question
from qrdistill.base.store import read_table, write_text
from qrdistill.base.untrusted.guarded_json import loads, read_json
from qrdistill.base.untrusted.yaml_file import parse_yaml
from qrdistill.paths.config import PathsConfig
from qrdistill.paths.styles import resolve_styles, student_prompt, with_closing_line
from qrdistill.scores.config import EvaluateConfig

_UTILS = '''"""Scores a completion as qrdistill does: from the completion alone, and whether its limit cut it."""

from transformers import AutoTokenizer

from qrdistill.answers.check import check
from qrdistill.base.records import Question

tokenizer = AutoTokenizer.from_pretrained(MODEL)


def process_results(doc, results):
    cut = len(tokenizer(results[0], add_special_tokens=False)["input_ids"]) >= MAX_TOKENS
    checked = check(Question.model_validate_json(doc["record"]), results[0], cut=cut)
    return {"acc": float(checked.outcome == "correct")}
'''


@dataclass(frozen=True)
class HarnessTask:
    """`names`: the tasks in `folder`. `command`: the words of a shell command that runs them."""

    folder: Path
    names: tuple[str, ...]
    command: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """Both evaluations of one student in one style, question by question."""

    n: int
    ours: int  # right answers
    theirs: int
    same_text: int  # completions that are equal character by character
    different: tuple[str, ...]  # ids of the questions whose outcomes differ


def write_task(run_dir: Path, student: str, folder: Path, *, style: str | None = None) -> HarnessTask:
    """Writes the task folder for one exported student of a run.

    style: a style's name or "free"; None: the best on dev, from scores.json. The folder is new, empty, or one
    that this function made; its results stay.

    Raises InputError where the run lacks what is needed, or the student's prompts cannot be given to the
    harness token by token.
    """
    import yaml
    from transformers import AutoTokenizer

    from qrdistill.students.tokens import Codec

    model = (run_dir / "students" / student).resolve()
    if not model.is_dir():
        raise InputError(f"{run_dir} has no exported student {student!r} under students/")
    config: dict[str, Any] = parse_yaml(_text(run_dir / "config.yaml"))[0]
    evaluate = EvaluateConfig.model_validate(config.get("evaluate", {}))
    styles = resolve_styles(PathsConfig.model_validate(config.get("paths", {})).styles)
    closing_line = bool(config.get("train", {}).get("closing_line"))
    chosen = style or _best_styles(run_dir).get(student, FREE)
    if chosen != FREE and chosen not in styles:
        raise InputError(f"style {chosen!r} is not among the run's: {', '.join([*styles, FREE])}")
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    codec = Codec(tokenizer, name=student)
    rows: list[dict[str, str]] = []
    for question in read_table(run_dir / "questions.parquet", Question):
        if question.split == evaluate.split:
            asked = with_closing_line(question) if closing_line else question
            prompt = student_prompt(asked.question, styles.get(chosen))
            text = codec.prompt_text(prompt)
            ids = tokenizer(text, add_special_tokens=not codec.has_template)["input_ids"]
            if tuple(ids) != codec.prompt_ids(prompt):
                raise InputError(
                    f"student {student}: its tokenizer closes every text with an end token, which the harness keeps"
                )
            record = question.model_dump_json()
            rows.append({"id": question.id, "prompt": text, "gold": question.gold or "", "record": record})
    if not rows:
        raise InputError(f"{run_dir} has no {evaluate.split} questions")
    end: str = tokenizer.convert_ids_to_tokens(codec.end_id)
    name = f"qrdistill_{student}_{chosen}".replace("-", "_").replace(".", "_")
    limit = evaluate.max_tokens or _measured_limit(run_dir)
    tasks = _tasks(name, folder.resolve() / "questions.jsonl", [end, *evaluate.stop], limit)
    if not all(_is_integer(row["gold"]) for row in rows):
        tasks = tasks[:1]
    claim(folder)
    for stale in folder.glob("qrdistill_*.yaml"):  # of another student or style: the harness reads them all
        stale.unlink()
    write_text(folder / "questions.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    utils = _UTILS.replace("MODEL", repr(str(model))).replace("MAX_TOKENS", str(limit))
    write_text(folder / "utils.py", utils)
    for task in tasks:
        text = yaml.safe_dump(task, sort_keys=False).replace(
            "'!function utils.process_results'", "!function utils.process_results"
        )
        write_text(folder / f"{task['task']}.yaml", text)
    names = tuple(str(task["task"]) for task in tasks)
    return HarnessTask(folder, names, _command(model, folder, names, codec.has_template, evaluate.batch_size))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file} is needed and cannot be read ({error.strerror}); run the stages first") from error


def _measured_limit(run_dir: Path) -> int:
    """The limit that the run's own evaluation took from its kept paths."""
    stages = read_json(run_dir / "manifest.json", nan=True)["stages"]
    return int(stages["evaluate"]["counts"]["max_tokens"])


def _is_integer(gold: str) -> bool:
    return gold.removeprefix("-").isdigit()


def _tasks(name: str, questions: Path, until: list[str], max_tokens: int) -> list[dict[str, Any]]:
    common: dict[str, Any] = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(questions)}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "prompt",
        "doc_to_target": "gold",
        "target_delimiter": "",
        "num_fewshot": 0,
        "generation_kwargs": {"until": until, "max_gen_toks": max_tokens, "do_sample": False},
        "metadata": {"version": 1},
    }
    ours = {
        "task": name,
        **common,
        "process_results": "!function utils.process_results",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    theirs = {
        "task": f"{name}_regex",
        **common,
        "filter_list": [
            {
                "name": "stated",
                "filter": [
                    {"function": "regex", "regex_pattern": r"The answer is (-?\d+)", "group_select": -1},
                    {"function": "take_first"},
                ],
            }
        ],
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    return [ours, theirs]


def _command(model: Path, folder: Path, names: Sequence[str], has_template: bool, batch_size: int) -> tuple[str, ...]:
    """Special tokens are added as `evaluate` does: by the tokenizer, as it comes (add_bos_token would put a
    beginning where the tokenizer has none), or by the chat template, already in the text.
    """
    adapter = model / "adapter_config.json"
    pretrained = str(model)
    if adapter.exists():
        base = read_json(adapter, fields={"base_model_name_or_path": str})["base_model_name_or_path"]
        pretrained = f"{base},peft={model}"
    arguments = f"pretrained={pretrained},dtype=float32" + (",add_bos_token=False" if has_template else "")
    return (
        "lm_eval",
        "run",
        "--model",
        "hf",
        "--model_args",
        arguments,
        "--include_path",
        str(folder),
        "--tasks",
        ",".join(names),
        "--batch_size",
        str(batch_size),
        "--device",
        "cpu",
        "--log_samples",
        "--output_path",
        str(folder / "results"),
    )


def agreement(run_dir: Path, student: str, results: Path, *, style: str | None = None) -> Agreement:
    """Compares `answers.parquet` with the newest sample log that lm_eval wrote under `results`.

    Raises InputError where there is none.
    """
    chosen = style or _best_styles(run_dir).get(student, FREE)
    logs = sorted(
        (log for log in results.rglob("samples_*.jsonl") if "_regex_" not in log.name),
        key=lambda log: log.stat().st_mtime_ns,
    )
    if not logs:
        raise InputError(f"{results} holds no samples_*.jsonl; run lm_eval with --log_samples")
    theirs = {sample["doc"]["id"]: sample for sample in _samples(logs[-1])}
    ours = [
        row
        for row in read_table(run_dir / "answers.parquet", Answer)
        if (row.student, row.style, row.sample) == (student, chosen, 0) and row.question_id in theirs
    ]
    return Agreement(
        n=len(ours),
        ours=sum(row.correct is True for row in ours),
        theirs=sum(theirs[row.question_id]["acc"] == 1.0 for row in ours),
        same_text=sum(row.text.strip() == theirs[row.question_id]["resps"][0][0].strip() for row in ours),
        different=tuple(
            row.question_id for row in ours if (row.correct is True) != (theirs[row.question_id]["acc"] == 1.0)
        ),
    )


def _best_styles(run_dir: Path) -> dict[str, str]:
    text = _text(run_dir / "scores.json")
    return loads(text, where=run_dir / "scores.json", nan=True, mend="run `qrdistill evaluate` again")["best_style"]


def _samples(log: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(log.read_text(encoding="utf-8").split("\n"), start=1):
        if line:
            yield loads(line, where=log, line=number, nan=True)


def main(arguments: Iterable[str] | None = None) -> int:
    from argparse import ArgumentParser

    parser = ArgumentParser(prog="python -m qrdistill.scores.lm_eval", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("student")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--style", help="a style of the run, or free; default: the best on dev")
    parser.add_argument("--agree", action="store_true", help="compare with the results in FOLDER/results")
    given = parser.parse_args(list(arguments) if arguments is not None else None)
    try:
        if given.agree:
            found = agreement(given.run, given.student, given.folder / "results", style=given.style)
            print(
                f"{given.student}: {found.ours} of {found.n} right here, {found.theirs} in lm_eval; "
                f"{len(found.different)} outcomes differ; {found.same_text} texts are the same"
            )
            return int(abs(found.ours - found.theirs) > 1)
        print(shlex.join(write_task(given.run, given.student, given.folder, style=given.style).command))
    except InputError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
