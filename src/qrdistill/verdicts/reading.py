"""The filter's judges as readers of what students write: sound or not, without any gold answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path as FilePath

from qrdistill.errors import ConfigError
from qrdistill.paths.config import TeacherConfig
from qrdistill.paths.fill import Budget
from qrdistill.progress import Progress
from qrdistill.records import Path, Question
from qrdistill.replies import ReplyCache
from qrdistill.verdicts.cases import Case
from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.judges import seat_judges
from qrdistill.verdicts.panel import Panel


def reader(
    config: FilterConfig, teachers: Sequence[TeacherConfig], *, cache: ReplyCache | None, base_dir: FilePath, seed: int,
    progress: Progress,
) -> Callable[[Sequence[tuple[Question, str]]], list[bool]]:  # fmt: skip
    """A function from (question, text) pairs to whether the panel of `filter.judges` finds each text sound.

    Votes, rule and threshold are the filter's; what stays undecided is not sound. Replies go through the
    cache, and the filter's budget limits them anew. Raises ConfigError where there is no judge.
    """
    if not config.judges:
        raise ConfigError("evaluate.fallback needs a judge; name one here", key="filter.judges")
    seats, escalation = seat_judges(
        config, teachers, seed=seed, cache=cache, base_dir=base_dir, progress=progress,
        budget=Budget(config.budget_usd, config.budget_tokens, section="filter"),
    )  # fmt: skip
    panel = Panel(
        seats, escalation, config.model_copy(update={"undecided": "drop"}) if not escalation else config
    )

    def sound(items: Sequence[tuple[Question, str]]) -> list[bool]:
        cases = [Case(question, _path(question, text)) for question, text in items]
        return [finding.outcome == "keep" for finding in panel.run(cases)]

    return sound


def _path(question: Question, text: str) -> Path:
    return Path(
        id=f"0/{question.id}/answer", question_id=question.id, teacher="", style="", prompt_hash="", text=text, answer=None
    )  # fmt: skip
