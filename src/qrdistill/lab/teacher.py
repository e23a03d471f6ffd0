"""The scripted teacher: it knows each question's steps, writes them in six styles, and plants errors.

How often it errs is fixed per style (`WRONG`, `SPURIOUS`). In the scenario `uneven` it is also bad
at two of five families in each style (`WEAK`, 12 of 30 cells; of the large mix 24 of 60). What it planted in a path goes
into `Draft.truth`, which is stored apart from the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

from qrdistill.base.errors import ConfigError
from qrdistill.base.records import Question
from qrdistill.lab.config import LabTeacher
from qrdistill.lab.mistakes import Planted, sound, spurious, wrong
from qrdistill.lab.mixes import FAMILIES, MIXES
from qrdistill.lab.questions import TASK
from qrdistill.lab.render import OPENINGS, render
from qrdistill.lab.templates import Problem
from qrdistill.paths.styles import Style
from qrdistill.paths.teachers import Draft

# style -> share of its paths whose answer is wrong
WRONG = {
    "vanilla": 0.22,
    "chain_of_thought": 0.12,
    "tree_of_thoughts": 0.16,
    "program": 0.10,
    "backward": 0.14,
    "facts": 0.19,
}

# style -> share of its paths with the right answer and a spurious step
SPURIOUS = {
    "vanilla": 0.10,
    "chain_of_thought": 0.14,
    "tree_of_thoughts": 0.25,
    "program": 0.08,
    "backward": 0.20,
    "facts": 0.17,
}

WEAK_WRONG = 0.7  # share of wrong answers in a weak cell
# style -> the families that it is weak at in the scenario `uneven`: each family in two or three styles
WEAK = {
    style: tuple(
        family for mix in MIXES.values() for place, family in enumerate(mix.families) if (place - index) % 5 in (0, 2)
    )
    for index, style in enumerate(WRONG)
}

_WORDS_PER_TOKEN = 0.75  # the scripted teacher has no tokenizer; its token counts are this estimate


class LabTeacherImplementation:
    """A path teacher (see `paths.teachers`); every path follows from seed, teacher, question, style and sample."""

    Config = LabTeacher

    def __init__(self, config: LabTeacher, *, base_dir: Path, seed: int, questions: Sequence[Question]) -> None:
        del base_dir
        self._config, self._seed = config, seed
        for family in config.strength:
            if family not in FAMILIES:
                raise ConfigError(
                    f"unknown family {family!r}; the lab's are {', '.join(FAMILIES)}", key="teachers.strength"
                )
            if not 0 <= config.strength[family] <= 1:
                raise ConfigError(
                    f"{family}: {config.strength[family]} is no share; give a number from 0 to 1",
                    key="teachers.strength",
                )
        for question in questions:
            _require_lab(question)

    def path(self, question: Question, style: Style, sample: int) -> Draft | None:
        """The path, with what was planted in it; None where the teacher covers only a share and not this.

        Raises ConfigError for a style that it cannot write, or a question that is not the lab's.
        """
        _require_lab(question)
        if style.name not in OPENINGS:
            raise ConfigError(
                f"the lab's teacher cannot write style {style.name!r}; it knows {', '.join(OPENINGS)}",
                key="paths.styles",
            )
        covered = Random(f"coverage {self._seed} {self._config.name} {question.id}").random()
        if covered >= self._config.coverage:
            return None
        problem = Problem.from_json(question.family, question.question, question.metadata)
        rng = Random(f"path {self._seed} {self._config.name} {question.id} {style.name} {sample}")
        chance_of_wrong, chance_of_spurious = self.rates(
            question.family, style.name, str(question.metadata["scenario"])
        )
        drawn = rng.random()
        if drawn < chance_of_wrong:
            label, planted = "wrong", wrong(problem, rng)
        elif drawn < chance_of_wrong + chance_of_spurious:
            label, planted = "spurious", spurious(problem, style.name, rng)
        else:
            label, planted = "sound", Planted(sound(problem), "")
        text = render(problem, planted.shown, style.name)
        return Draft(
            text=text.rpartition("\n")[2] if self._config.thinks else text,
            thought=text if self._config.thinks else "",
            prompt_tokens=_tokens(f"{question.question} {style.instruction}"),
            completion_tokens=_tokens(text),
            truth=(label, planted.detail),
        )

    def rates(self, family: str, style: str, scenario: str) -> tuple[float, float]:
        """The shares of wrong and of spurious paths in one cell.

        Where more are wrong than the style's own share, fewer are left to be spurious, in proportion.
        """
        chance = WRONG[style]
        if family in self._config.strength:
            chance = self._config.strength[family]
        elif scenario == "uneven" and family in WEAK[style]:
            chance = WEAK_WRONG
        return chance, SPURIOUS[style] * (1 - chance) / (1 - WRONG[style])


def _require_lab(question: Question) -> None:
    if question.task != TASK or "steps" not in question.metadata:
        raise ConfigError(
            f"the lab's teacher knows only the lab's questions, and {question.id} is of task "
            f"{question.task!r}; use a teacher of kind replay, openai or transformers",
            key="teachers.kind",
        )


def _tokens(text: str) -> int:
    return round(len(text.split()) / _WORDS_PER_TOKEN)
