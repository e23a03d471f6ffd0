"""Tasks over the user's own data: `jsonl` (local files) and `hub` (a data set by its id).

Our fields, to be mapped with `questions.fields` where names differ (`gold: target`):
`id`, `split`, `question`, `gold`, `kind`, `family`, `context`, `options`, `aliases`, `tolerance`.
Only `question` and `gold` have to be there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qrdistill.base.errors import ConfigError
from qrdistill.base.records import Question
from qrdistill.questions.config import QuestionsConfig
from qrdistill.questions.from_rows import Draft, Options, assemble, labels_of, option_of, options_of, with_options
from qrdistill.questions.read_rows import Row

FIELDS = ("id", "split", "question", "gold", "kind", "family", "context", "options", "aliases", "tolerance")


def load_files(config: QuestionsConfig, *, seed: int, base_dir: Path) -> Iterator[Question]:
    if not any((config.file, config.train_file, config.dev_file, config.test_file)):
        raise ConfigError("task jsonl needs questions.file, or train_file and test_file", key="questions.file")
    return assemble(config, lambda row: draft(row, config), {}, seed=seed, base_dir=base_dir)


def load_hub(config: QuestionsConfig, *, seed: int, base_dir: Path) -> Iterator[Question]:
    if not config.hub and not any((config.file, config.train_file, config.test_file)):
        raise ConfigError("task hub needs questions.hub, a data set's id", key="questions.hub")
    splits = {"train": [(config.subset, "train")], "test": [(config.subset, "test")]}
    named = config.options.get("splits")
    if isinstance(named, dict):
        splits = {split: [(config.subset, str(theirs))] for split, theirs in named.items()}
    return assemble(config, lambda row: draft(row, config), splits, seed=seed, base_dir=base_dir)  # type: ignore[arg-type]


def draft(row: Row, config: QuestionsConfig) -> Draft:
    """One row as a question; fields are looked up under the user's names."""
    unknown = [field for field in config.fields if field not in FIELDS]
    if unknown:
        raise ConfigError(
            f"unknown field {unknown[0]!r}; ours are: {', '.join(FIELDS)}",
            key=f"questions.fields.{unknown[0]}",
        )
    names = {field: config.fields.get(field, field) for field in FIELDS}
    if "gold" not in config.fields and "gold" not in row.value and "answer" in row.value:
        names["gold"] = "answer"
    text = row.text(names["question"])
    kind = str(row.value.get(names["kind"]) or config.kind or "text")
    if context := row.value.get(names["context"]):
        text = f"{str(context).strip()}\n{text}"
    metadata: dict[str, object] = {}
    options: Options | None = None
    if row.value.get(names["options"]) is not None:
        options = options_of(row, row.value[names["options"]])
        metadata["options"] = dict(options)
        text = with_options(text, options)
    if (given := row.value.get(names["aliases"])) is not None:
        metadata["aliases"] = _aliases(row, given)
    if (given := row.value.get(names["tolerance"])) not in (None, ""):
        metadata["tolerance"] = _tolerance(row, given)
    gold = row.get(names["gold"]) if config.require_gold else row.value.get(names["gold"])
    if kind == "choice" and options is not None and gold is not None and not isinstance(gold, list | dict):
        gold = option_of(row, options, labels_of(row.value[names["options"]]), gold, config.gold)
    given = row.value.get(names["id"])
    return Draft(
        question=text,
        gold=gold,
        kind=kind,
        family=str(row.value.get(names["family"]) or "all"),
        id=None if given is None else str(given),
        split=row.value.get(names["split"]),
        metadata=metadata,
    )


def _aliases(row: Row, given: object) -> list[str]:
    listed = given if isinstance(given, list) else [given]
    if not all(isinstance(one, str | int | float) for one in listed):
        raise row.error(f"aliases have to be a list of texts, not {given!r:.60}")
    return [str(one) for one in listed]


def _tolerance(row: Row, given: Any) -> float:
    try:
        tolerance = float(given)
    except (TypeError, ValueError, OverflowError):
        tolerance = -1.0
    if not 0 <= tolerance < float("inf"):
        raise row.error(f"tolerance has to be a number from 0 on, not {given!r:.60}")
    return tolerance
