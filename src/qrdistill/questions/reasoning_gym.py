"""`reasoning_gym:<dataset>`: procedural questions without end, with their own scorers."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qrdistill.answers.kinds import gym as by_gym
from qrdistill.base.errors import ConfigError, InputError
from qrdistill.base.records import Question, Split
from qrdistill.questions.config import QuestionsConfig
from qrdistill.questions.splits import not_enough

_DEFAULTS: dict[Split, int] = {"train": 300, "dev": 100, "test": 400}
_TRIES = 20  # generated entries per question wanted, before a data set counts as exhausted


def load(config: QuestionsConfig, *, seed: int, base_dir: Path) -> Iterator[Question]:
    """Distinct questions for train, dev and test, in this order, from one seeded stream.

    `questions.options` is the data set's own configuration. No question appears in two splits.
    """
    name = config.task.partition(":")[2]
    dataset = _create(name, dict(config.options), seed, sum(_wanted(config).values()) * _TRIES)
    seen: set[str] = set()
    entries = (dataset[index] for index in range(dataset.size))
    for split, count in _wanted(config).items():
        made = 0
        while made < count:
            entry = next(entries, None)
            if entry is None:
                raise not_enough(split, count, made, f"reasoning_gym:{name} has no more distinct ones")
            if entry["question"] in seen:
                continue
            seen.add(entry["question"])
            yield _question(config.task, name, split, made, entry)
            made += 1


def _wanted(config: QuestionsConfig) -> dict[Split, int]:
    given = {"train": config.train, "dev": config.dev, "test": config.test}
    return {split: default if given[split] is None else given[split] for split, default in _DEFAULTS.items()}  # type: ignore[misc]


def _create(name: str, options: dict[str, Any], seed: int, size: int) -> Any:
    try:
        from reasoning_gym.factory import DATASETS, create_dataset
    except ImportError as error:
        raise InputError("reasoning_gym tasks need the package: pip install 'qrdistill[reasoning-gym]'") from error
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=3, cutoff=0.4)
        raise ConfigError(
            f"reasoning_gym has no data set {name!r}{'; nearest: ' + ', '.join(near) if near else ''}",
            key="questions.task",
        )
    if taken := sorted({"seed", "size"} & set(options)):
        raise ConfigError(
            f"{taken[0]} follows from the run's seed and sizes; leave it out",
            key=f"questions.options.{taken[0]}",
        )
    try:
        return create_dataset(name, seed=seed, size=max(size, 1), **options)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"reasoning_gym:{name} refuses its options: {error}", key="questions.options") from error


def _question(task: str, name: str, split: Split, number: int, entry: dict[str, Any]) -> Question:
    try:
        record = json.loads(json.dumps(entry, default=str))  # fractions and the like
    except (TypeError, ValueError) as error:
        raise ConfigError(f"reasoning_gym:{name} cannot be stored: {error}", key="questions.task") from error
    metadata: dict[str, Any] = {"dataset": name, "entry": record}
    answer = entry["answer"]
    if answer is not None and by_gym.score(metadata, str(answer)) < 1.0:
        metadata["tuples"] = True
        if by_gym.score(metadata, str(answer)) < 1.0:
            raise ConfigError(
                f"the scorer of reasoning_gym:{name} does not accept its own answer {answer!r:.60}",
                key="questions.task",
            )
    return Question(
        id=f"{split}-{number}",
        split=split,
        task=task,
        family=name,
        kind="reasoning_gym",
        question=entry["question"].strip(),
        gold=None if answer is None else str(answer),
        metadata=metadata,
    )
