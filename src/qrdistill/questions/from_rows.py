"""From rows to questions: the part that all tasks over tables share.

A task turns a row into a `Draft`; `assemble` finds the rows of each split (local files before the
hub), carves a dev (and, for single files, a test) split where there is none, chooses as many as are
asked for, and normalises gold answers.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qrdistill.answers import check as answers
from qrdistill.base.errors import ConfigError
from qrdistill.base.records import Question, Split
from qrdistill.questions.config import QuestionsConfig
from qrdistill.questions.read_rows import Row, read_hub, read_source
from qrdistill.questions.splits import carve, choose, default_share, not_enough

Options = dict[str, str]  # letter -> the option's text
Places = Mapping[Split, Sequence[tuple[str | None, str]]]  # split -> (subset, the hub's split name) ...

_SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "dev": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}


@dataclass(frozen=True)
class Draft:
    question: str
    gold: Any
    kind: str
    family: str = "all"
    id: str | None = None
    split: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


Build = Callable[[Row], Draft | None]  # None: the row is not part of the task


def letters(labels: Sequence[Any]) -> list[str]:
    """Labels as capital letters: their own where they are such, A, B, C ... otherwise."""
    own = [str(label).strip().strip("().").upper() for label in labels]
    if all(len(label) == 1 and label in string.ascii_uppercase for label in own) and len(set(own)) == len(own):
        return own
    return list(string.ascii_uppercase[: len(own)])


def options_of(row: Row, value: Any) -> Options:
    """Options as a list of texts, {"label": [...], "text": [...]}, [{"label": ..., "text": ...}] or {label: text}."""
    if isinstance(value, dict) and set(value) >= {"label", "text"} and isinstance(value["text"], list):
        labels, texts = value["label"], value["text"]
    elif isinstance(value, dict):
        labels, texts = list(value), list(value.values())
    elif isinstance(value, list) and value and all(isinstance(part, dict) and "text" in part for part in value):
        labels, texts = (
            [part.get("label", i) for i, part in enumerate(value)],
            [part["text"] for part in value],
        )
    elif isinstance(value, list):
        labels, texts = list(range(len(value))), value
    else:
        raise row.error(f"options have to be a list or an object, not {value!r:.60}")
    if not 2 <= len(texts) <= 26 or len(labels) != len(texts):
        raise row.error(f"2 to 26 options with a label each are expected, not {len(texts)}")
    return dict(zip(letters(labels), (str(text).strip() for text in texts), strict=True))


def gold_letter(row: Row, options: Options, labels: Sequence[Any], key: Any) -> str:
    """The letter of the option that the gold label names; raises DataError where there is none."""
    own = [str(label).strip() for label in labels]
    if str(key).strip() not in own:
        raise row.error(f"the gold label {key!r} is none of the options' ({', '.join(own)})")
    return list(options)[own.index(str(key).strip())]


def with_options(text: str, options: Options) -> str:
    return "\n".join([text, "Options:", *(f"({letter}) {option}" for letter, option in options.items())])


def assemble(
    config: QuestionsConfig,
    build: Build,
    places: Places,
    *,
    seed: int,
    base_dir: Path,
    hub: str | None = None,
) -> Iterator[Question]:
    """Train, dev and test questions of a table-shaped task; see the module's docstring."""
    pools: dict[Split, list[Question]] = {"train": [], "dev": [], "test": []}
    files = {"train": config.train_file, "dev": config.dev_file, "test": config.test_file}
    local = bool(config.file) or any(files.values())
    sources: list[tuple[Split, Iterator[Row], str]] = []
    if config.file:
        if any(files.values()):
            raise ConfigError("give either file or train_file, dev_file and test_file", key="questions.file")
        sources.append(("train", read_source(base_dir, config.file), "train"))
    elif local:
        for split in pools:
            if path := files[split]:
                sources.append((split, read_source(base_dir, path), split))
    else:
        name = config.hub or hub
        assert name is not None
        for split, parts in places.items():
            for subset, theirs in parts:
                rows = read_hub(name, config.subset or subset, theirs)
                sources.append((split, rows, f"{subset}-{theirs}" if len(parts) > 1 else theirs))
    for split, rows, prefix in sources:
        for question in _questions(config, build, rows, split, prefix):
            pools[question.split].append(question)
    yield from divide(pools, config, seed, carve_test=local)


def divide(
    pools: dict[Split, list[Question]], config: QuestionsConfig, seed: int, *, carve_test: bool
) -> Iterator[Question]:
    """Carves what has no pool of its own out of the training questions, then chooses."""
    for split in ("test", "dev"):
        asked = config.test if split == "test" else config.dev
        if pools[split] or asked == 0 or (split == "test" and not carve_test):
            continue
        total = len(pools["train"])
        count = default_share(total, split) if asked is None else asked
        if count > total:
            raise not_enough(split, count, total, "to be carved out of the training questions")
        pools["train"], pools[split] = carve(pools["train"], count, split)
    for split in ("train", "dev", "test"):
        asked = getattr(config, split)
        if asked is not None and asked > len(pools[split]):
            raise not_enough(split, asked, len(pools[split]), f"task {config.task}")
        yield from choose(pools[split], asked, seed)


def _questions(
    config: QuestionsConfig, build: Build, rows: Iterator[Row], split: Split, prefix: str
) -> Iterator[Question]:
    first_line: dict[str, int] = {}
    for row in rows:
        draft = build(row)
        if draft is None:
            continue
        if draft.id is not None and first_line.setdefault(draft.id, row.line) != row.line:
            raise row.error(f"the id {draft.id!r} stands in line {first_line[draft.id]} already; give each its own")
        _check_kind(row, draft.kind, config)
        if draft.split is not None and str(draft.split).lower() not in _SPLIT_NAMES:
            raise row.error(f"unknown split {draft.split!r}; known: {', '.join(_SPLIT_NAMES)}")
        gold, aliases = gold_texts(row, draft.gold, draft.kind)
        if not gold and config.require_gold:
            raise row.error("the question has no gold answer; add one, or set questions.require_gold: false")
        question = Question(
            id=draft.id or f"{prefix}-{row.line}",
            split=split if draft.split is None or not config.file else _SPLIT_NAMES[str(draft.split).lower()],
            task=config.task,
            family=draft.family,
            kind=draft.kind,
            question=draft.question,
            gold=gold or None,
            metadata=_with_aliases(draft.metadata, aliases),
        )
        if question.gold is not None:
            read = answers.read_gold(question)
            if read.answer is None:
                raise row.error(f"the gold answer {question.gold!r} is not one of kind {question.kind}: {read.reason}")
            question = question.model_copy(update={"gold": read.answer})
        yield question


def _check_kind(row: Row, kind: str, config: QuestionsConfig) -> None:
    if ":" in kind and kind != config.kind:
        raise row.error(f"the kind {kind!r} runs code, which a data file may not choose; name it in questions.kind")
    try:
        answers.comparer(kind)
    except ConfigError as error:
        if kind == config.kind:
            raise
        raise row.error(error.message) from None


def gold_texts(row: Row, value: Any, kind: str) -> tuple[str | None, list[str]]:
    """A gold answer as a text, and others that are accepted as well (kind `text` only).

    Lists and the objects of SQuAD (`text`) and TriviaQA (`value`, `aliases`) hold several answers. Raises
    DataError for any other object, and for several answers where a kind compares with one.
    """
    if isinstance(value, dict):
        parts = value.get("text", value.get("value"))
        if parts is None or not set(value) <= _GOLD_FIELDS:
            raise row.error(
                f"the gold answer is an object with the fields {', '.join(map(str, value)) or 'none'}; name the one "
                "that holds the answer in a column of its own, as a text"
            )
        value = [*_as_list(parts), *_as_list(value.get("aliases"))]
    texts = list(dict.fromkeys(filter(None, (_scalar(row, part) for part in _as_list(value)))))
    if len(texts) > 1 and kind != "text":
        raise row.error(f"{len(texts)} gold answers ({', '.join(texts[:3])}), but kind {kind} compares with one")
    return (texts[0] if texts else None), texts[1:]


_GOLD_FIELDS = {"text", "answer_start", "value", "aliases", "normalized_value", "normalized_aliases", "type"} | {
    "matched_wiki_entity_name",
    "normalized_matched_wiki_entity_name",
}


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _scalar(row: Row, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value != value:  # how tables write a missing one
        return ""
    if value is None or isinstance(value, dict | list | tuple | set | bytes):
        raise row.error(f"a gold answer has to be a text or a number, not {value!r:.60}")
    return str(value).strip()


def _with_aliases(metadata: Mapping[str, Any], more: list[str]) -> dict[str, Any]:
    aliases = [*_as_list(metadata.get("aliases")), *more]
    return {**metadata, "aliases": aliases} if aliases else dict(metadata)


def option_of(row: Row, options: Options, labels: Sequence[Any], gold: Any, how: str | None) -> Any:
    """The letter of the option that a gold answer names, or the gold answer itself where its text says so.

    `how` is `questions.gold`. A number that is an option's text and could be a place from 0 as well is
    refused: it would be read one way in one row and the other way in the next.
    """
    letters, text = list(options), str(gold).strip()
    place = int(text) if text.isdecimal() and int(text) < len(letters) else None
    if how == "index":
        if isinstance(gold, bool) or place is None:
            raise row.error(f"questions.gold is index, but {gold!r:.60} is no place from 0 to {len(letters) - 1}")
        return letters[place]
    own = [str(label).strip() for label in labels]
    by_label = letters[own.index(text)] if text in own else text.strip("()").upper() if how == "label" else None
    if how == "label":
        if by_label not in letters:
            raise row.error(f"questions.gold is label, but {gold!r:.60} is none of {', '.join(own or letters)}")
        return by_label
    named = [letter for letter, option in options.items() if option == text]
    if how == "text":
        if len(named) != 1:
            raise row.error(f"questions.gold is text, but {gold!r:.60} is the text of {len(named)} options")
        return named[0]
    readings = {by_label, *named} - {None}
    if place is not None and by_label is None:
        readings.add(letters[place])
    numeric = place is not None and (named or by_label is None or len(readings) > 1)
    if numeric:
        raise row.error(
            f"the gold answer {text!r} may be an option's place (from 0), its label or its text; say which with "
            "questions.gold: index, label or text"
        )
    return by_label or gold


def labels_of(value: Any) -> list[Any]:
    """The labels that options come with; none for a plain list of texts."""
    if isinstance(value, dict):
        return list(value["label"]) if isinstance(value.get("label"), list) and "text" in value else list(value)
    return [part["label"] for part in value if isinstance(part, dict) and "label" in part]
