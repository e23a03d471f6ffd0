"""The paths of a run as a data set that other trainers read: messages, prompt-completion, dpo, sharegpt."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qrdistill import __version__
from qrdistill.base.errors import InputError
from qrdistill.base.ownership import FILES
from qrdistill.base.records import Question, ReasoningPath, Verdict
from qrdistill.base.store import atomic, read_table
from qrdistill.paths.styles import Style, resolve_styles, student_prompt, with_closing_line
from qrdistill.runs.run import Run

FORMATS = ("messages", "prompt-completion", "dpo", "sharegpt")
_FAULTS = ("answer", "program", "judge")  # what drops a path for being wrong; others drop copies and cut texts


@dataclass
class _Pool:
    """The paths of a run, by question: kept ones train, wrong ones were dropped for a fault of their own."""

    questions: dict[str, Question]
    styles: Mapping[str, Style]
    kept: dict[str, list[ReasoningPath]] = field(default_factory=dict[str, list[ReasoningPath]])
    wrong: dict[str, list[ReasoningPath]] = field(default_factory=dict[str, list[ReasoningPath]])
    reasons: Counter[str] = field(default_factory=Counter[str])

    def prompt(self, question: str, style: str) -> str:
        """What a student reads before the path: the very text that training shows it."""
        return student_prompt(self.questions[question].question, self.styles.get(style))


@dataclass(frozen=True)
class PathsExport:
    folder: Path
    format: str
    rows: int
    note: str  # what was left out, and why
    repository: str | None
    pushed: bool


def export_paths(
    run_dir: Path, to: Path, *, format: str, push: str | None = None, private: bool = False, dry_run: bool = False
) -> PathsExport:
    """Writes `train.jsonl`, a card and what LLaMA-Factory and Axolotl need into a new folder.

    Raises InputError for an unknown format, a folder that holds something, a run without kept paths, and for dpo where no
    question has both a kept and a wrong path.
    """
    if format not in FORMATS:
        raise InputError(f"--format {format!r}: there are {', '.join(FORMATS)}")
    if to.is_symlink() or (to.exists() and (not to.is_dir() or any(to.iterdir()))):
        raise InputError(f"{to} exists and is not empty; choose another folder")
    run = Run(run_dir)
    pool = _pool(run)
    if not any(pool.kept.values()):
        raise InputError(f"{run_dir} has no kept paths: nothing to export; look at `qrdistill show {run_dir} filter`")
    rows = list(_ROWS[format](pool))
    if not rows:
        raise InputError(
            f"no question of {run_dir} has both a kept path and one that was dropped for a fault, so there is nothing to "
            "pair; use --format messages, or run with more paths per question (paths.per_style)"
        )
    note = _note(format, pool, rows)
    with atomic(to) as temporary:
        temporary.mkdir(parents=True)
        with (temporary / "train.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (temporary / "dataset_info.json").write_text(json.dumps(_LLAMA_FACTORY[format], indent=2) + "\n", "utf-8")
        (temporary / "axolotl.yaml").write_text(_AXOLOTL[format].format(folder=to.name), "utf-8")
        (temporary / "README.md").write_text(_card(run, format, pool, len(rows), note), "utf-8")
    if push and not dry_run:
        from huggingface_hub import HfApi

        api = HfApi()
        api.create_repo(push, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(repo_id=push, repo_type="dataset", folder_path=to, ignore_patterns=[FILES])
    return PathsExport(to, format, len(rows), note, push, bool(push) and not dry_run)


def _pool(run: Run) -> _Pool:
    for name in ("questions.parquet", "paths.parquet", "verdicts.parquet"):
        if not (run.folder / name).exists():
            raise InputError(f"{run.folder} has no {name} yet; run `qrdistill filter` first")
    config = run.config
    asked = (with_closing_line(row) if config.train.closing_line else row for row in run.questions())
    pool = _Pool({row.id: row for row in asked}, resolve_styles(config.paths.styles))
    for paths, verdicts in (("paths", "verdicts"), ("own_paths", "own_verdicts")):
        if (run.folder / f"{paths}.parquet").exists():
            closed = dict(_closings(read_table(run.folder / f"{verdicts}.parquet", Verdict)))
            for path in read_table(run.folder / f"{paths}.parquet", ReasoningPath):
                outcome, check = closed.get(path.id, ("undecided", ""))
                if outcome == "keep":
                    pool.kept.setdefault(path.question_id, []).append(path)
                else:
                    pool.reasons[check if outcome == "drop" else "undecided"] += 1
                if outcome == "drop" and check in _FAULTS:
                    pool.wrong.setdefault(path.question_id, []).append(path)
    return pool


def _closings(verdicts: Iterator[Verdict]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Path id -> the decision, and the check that led to it: the last one before the closing verdict."""
    before = ""
    for verdict in verdicts:
        if verdict.check == "filter":
            yield verdict.path_id, (verdict.outcome, before)
        before = verdict.check


def _facts(path: ReasoningPath) -> dict[str, Any]:
    return {"path_id": path.id, "question_id": path.question_id, "style": path.style, "teacher": path.teacher}


def _kept(pool: _Pool) -> Iterator[tuple[str, ReasoningPath]]:
    for question, paths in pool.kept.items():
        for path in paths:
            yield pool.prompt(question, path.style), path


def _messages(pool: _Pool) -> Iterator[dict[str, Any]]:
    for prompt, path in _kept(pool):
        turns = [{"role": "user", "content": prompt.rstrip("\n")}, {"role": "assistant", "content": path.lesson}]
        yield {"messages": turns, **_facts(path)}


def _sharegpt(pool: _Pool) -> Iterator[dict[str, Any]]:
    for prompt, path in _kept(pool):
        turns = [{"from": "human", "value": prompt.rstrip("\n")}, {"from": "gpt", "value": path.lesson}]
        yield {"conversations": turns, **_facts(path)}


def _prompt_completion(pool: _Pool) -> Iterator[dict[str, Any]]:
    for prompt, path in _kept(pool):
        yield {"prompt": prompt, "completion": path.lesson, **_facts(path)}


def _dpo(pool: _Pool) -> Iterator[dict[str, Any]]:
    """Each kept path against a wrong one of its question: of its own style where there is one, then under its hint."""
    for question, paths in pool.kept.items():
        wrong = pool.wrong.get(question, [])
        for at, path in enumerate(paths if wrong else ()):
            same = [other for other in wrong if other.style == path.style]
            other = same[at % len(same)] if same else wrong[at % len(wrong)]
            prompt = pool.prompt(question, path.style if same else "")
            yield {
                "prompt": prompt,
                "chosen": path.lesson,
                "rejected": other.lesson,
                "rejected_path_id": other.id,
                "rejected_style": other.style,
                **_facts(path),
            }


_ROWS: Mapping[str, Callable[[_Pool], Iterator[dict[str, Any]]]] = {
    "messages": _messages,
    "prompt-completion": _prompt_completion,
    "dpo": _dpo,
    "sharegpt": _sharegpt,
}
_ROLES = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
_LLAMA_FACTORY: Mapping[str, Mapping[str, Any]] = {
    name: {"paths": {"file_name": "train.jsonl", **settings}}
    for name, settings in {
        "messages": {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": _ROLES},
        "sharegpt": {"formatting": "sharegpt", "columns": {"messages": "conversations"}},
        "prompt-completion": {"formatting": "alpaca", "columns": {"prompt": "prompt", "response": "completion"}},
        "dpo": {
            "formatting": "alpaca",
            "ranking": True,
            "columns": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
        },
    }.items()
}
_AXOLOTL_HEAD = "# the part of an Axolotl config that reads this folder\n"
_AXOLOTL_PATH = "datasets:\n  - path: {folder}/train.jsonl\n    ds_type: json\n"
_AXOLOTL = {
    "messages": _AXOLOTL_HEAD + _AXOLOTL_PATH + "    type: chat_template\n    field_messages: messages\n",
    "sharegpt": _AXOLOTL_HEAD
    + _AXOLOTL_PATH
    + "    type: chat_template\n    field_messages: conversations\n"
    + "    message_property_mappings:\n      role: from\n      content: value\n",
    "prompt-completion": _AXOLOTL_HEAD
    + _AXOLOTL_PATH
    + "    type:\n      field_instruction: prompt\n      field_output: completion\n"
    + '      format: "{{instruction}}"\n      no_input_format: "{{instruction}}"\n',
    "dpo": _AXOLOTL_HEAD
    + "rl: dpo\n"
    + _AXOLOTL_PATH
    + "    type:\n      field_prompt: prompt\n      field_chosen: chosen\n      field_rejected: rejected\n"
    + '      prompt_format: "{{prompt}}"\n      chosen_format: "{{chosen}}"\n      rejected_format: "{{rejected}}"\n',
}


def _note(format: str, pool: _Pool, rows: Sequence[Mapping[str, Any]]) -> str:
    if format != "dpo":
        left = sum(pool.reasons.values())
        return f"{left} paths are left out, which the filter did not keep" if left else ""
    paired = {row["question_id"] for row in rows}
    alone = sum(question not in paired for question in pool.kept)
    lost = sum(question not in pool.kept for question in pool.wrong)
    return (
        f"{len(rows)} pairs of {len(paired)} questions; {alone} questions have no wrong path and {lost} no kept one: they "
        "give no pair"
    )


def _card(run: Run, format: str, pool: _Pool, rows: int, note: str) -> str:
    config = run.config
    teachers = Counter(path.teacher for paths in pool.kept.values() for path in paths)
    styles = Counter(path.style for paths in pool.kept.values() for path in paths)
    kept, dropped = styles.total(), sum(pool.reasons.values())
    reasons = ", ".join(f"{name} {count}" for name, count in pool.reasons.most_common()) or "none"
    trainer = "DPOTrainer" if format == "dpo" else "SFTTrainer"
    if format == "sharegpt":
        use = "TRL reads the other formats; this one is for LLaMA-Factory and Axolotl."
    else:
        use = f'`trl.{trainer}(..., train_dataset=datasets.load_dataset("{{folder}}", split="train"))`'.replace(
            "{folder}", "THIS FOLDER"
        )
    return f"""---
task_categories:
- text-generation
tags:
- reasoning
- distillation
configs:
- config_name: default
  data_files:
  - split: train
    path: train.jsonl
---

# Reasoning paths of `{config.name}`, as {format}

{rows} rows. {note + "." if note else ""}

- Task: {config.questions.task}; questions of the split `train` only, {len(pool.kept)} of them with a kept path.
- Paths: {kept + dropped} asked for and written, {kept} kept, {dropped} not kept (by the check that closed them: {reasons}).
- Teachers of the kept ones: {_counted(teachers)}. Styles: {_counted(styles)}.
- A prompt is the question, a newline and the style's hint, as qrdistill's students read it; `path_id` leads back to the run.
- Made by qrdistill {__version__} from a run with seed {config.seed}.

## Use

- TRL: {use}
- LLaMA-Factory: `dataset_dir: THIS FOLDER` and `dataset: paths` (`dataset_info.json` describes the columns).
- Axolotl: `axolotl.yaml` holds the `datasets:` block.

## Licence and limits

The questions keep the licence of their source, the paths the terms of the teacher that wrote them: check both before
publishing. Kept means that the run's filter let a path pass, not that every step of it is sound.
"""


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())
