"""The task `lab`: template questions, deterministic from the seed.

Which split a question can belong to is decided by a hash of its text, not by the seed. So no text
of one split can ever turn up in another, and none of them in what the base students were
pretrained on, whatever seeds are combined.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from random import Random

from qrdistill.base.errors import ConfigError
from qrdistill.base.records import Question, Split
from qrdistill.lab.mixes import MIXES, draw
from qrdistill.lab.templates import Problem
from qrdistill.questions.config import QuestionsConfig

SCENARIOS = ("even", "uneven")
TASK = "lab"

# shares of all possible question texts, in twentieths
_PARTS = ("pretraining",) * 8 + ("train",) * 5 + ("dev",) * 2 + ("test",) * 5
_DEFAULT = {"train": 1200, "dev": 100, "test": 400}
_SHARED_WORDS = 13  # a train question shares no run of so many words with a dev or test question


HARD = 0.75  # share of three-step questions (of the large mix: five and six); the base students have read a fifth


def part_of(text: str) -> str:
    """Where a question text belongs for ever: pretraining, train, dev or test."""
    return _PARTS[int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) % len(_PARTS)]


def problems(
    part: str,
    seed: int,
    *,
    size: str = "small",
    hard: float = HARD,
    avoid: Collection[tuple[str, ...]] = frozenset(),
) -> Iterator[Problem]:
    """Endless problems of one part, the families of a mix in turn; `hard`: the share of long ones.

    Those of a split are distinct, share no run of words with `avoid`, and end where a family has no
    further question (after thousands). Pretraining may read a question again.
    """
    rng = Random(f"qrdistill lab {part} {seed}")
    seen: set[str] = set()
    while True:
        for family in MIXES[size].families:
            is_hard = rng.random() < hard
            for _ in range(2000):
                problem = draw(family, rng, hard=is_hard)
                if part_of(problem.text) != part:
                    continue
                if part == "pretraining":
                    break
                if problem.text not in seen and word_runs(problem.text).isdisjoint(avoid):
                    seen.add(problem.text)
                    break
            else:
                return
            yield problem


def load(config: QuestionsConfig, *, seed: int, base_dir: Path) -> Iterator[Question]:
    """The lab's questions, train then dev then test.

    `config.options["scenario"]` is `even` (default) or `uneven`: it changes what the scripted
    teacher gets wrong, never the questions. `size` is `small` (default) or `large` (see `mixes`),
    `hard` the share of long questions. The steps that solve a question stand in its metadata,
    for the teacher's eyes only.

    Raises ConfigError for an unknown option or scenario, or for more questions than there are.
    """
    for name in config.options:
        if name not in ("scenario", "size", "hard"):
            raise ConfigError(
                f"unknown option {name!r}; the lab knows: scenario, size, hard",
                key=f"questions.options.{name}",
            )
    hard = config.options.get("hard", HARD)
    if not isinstance(hard, int | float) or not 0 <= hard <= 1:
        raise ConfigError(f"{hard!r}: the share of long questions, 0 to 1", key="questions.options.hard")
    scenario = config.options.get("scenario", SCENARIOS[0])
    if scenario not in SCENARIOS:
        raise ConfigError(
            f"unknown scenario {scenario!r}; known: {', '.join(SCENARIOS)}", key="questions.options.scenario"
        )
    size = str(config.options.get("size", "small"))
    if size not in MIXES:
        raise ConfigError(f"unknown size {size!r}; known: {', '.join(MIXES)}", key="questions.options.size")
    wanted = {"train": config.train, "dev": config.dev, "test": config.test}
    chosen: dict[Split, list[Problem]] = {}
    avoid: set[tuple[str, ...]] = set()
    # the held-out ones first: the train questions then avoid their wording
    splits: tuple[Split, ...] = ("test", "dev", "train")
    for split in splits:
        number = wanted[split] if wanted[split] is not None else _DEFAULT[split]
        assert number is not None
        chosen[split] = _choose(split, number, seed, size, hard, avoid if split == "train" else set())
        avoid |= {run for problem in chosen[split] for run in word_runs(problem.text)}
    for split in reversed(splits):
        number = _DEFAULT[split] if wanted[split] is None else wanted[split]
        for index, problem in enumerate(chosen[split]):
            yield Question(
                id=f"{split}-{index}",
                split=split,
                task=TASK,
                family=problem.family,
                kind="number",
                question=problem.text,
                gold=str(problem.gold),
                metadata={**problem.as_json(), "scenario": scenario},
            )


def _choose(split: str, number: int, seed: int, size: str, hard: float, avoid: set[tuple[str, ...]]) -> list[Problem]:
    chosen = list(islice(problems(split, seed, size=size, hard=hard, avoid=avoid), max(0, number)))
    if len(chosen) < number:
        raise ConfigError(
            f"{number} questions wanted, but the lab's templates hold about {len(chosen)}; ask for fewer",
            key=f"questions.{split}",
        )
    return chosen


def word_runs(text: str, length: int = _SHARED_WORDS) -> set[tuple[str, ...]]:
    """Every run of `length` words in a text, lower case, punctuation left out."""
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}
