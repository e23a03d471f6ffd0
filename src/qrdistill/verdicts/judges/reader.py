"""The filter's judges as readers of what students write: sound or not, without any gold answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qrdistill.base.errors import ConfigError
from qrdistill.base.progress import Progress
from qrdistill.base.records import Question, ReasoningPath
from qrdistill.llm.ask import Budget
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.paths.config import TeacherConfig
from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.judges.judge import seat_judges
from qrdistill.verdicts.judges.panel import Panel
from qrdistill.verdicts.open_case import Case


def reader(
    config: FilterConfig,
    teachers: Sequence[TeacherConfig],
    *,
    cache: ReplyCache | None,
    base_dir: Path,
    seed: int,
    progress: Progress,
) -> Callable[[Sequence[tuple[Question, str]]], list[bool]]:
    """A function from (question, text) pairs to whether the panel of `filter.judges` finds each text sound.

    Votes, rule and threshold are the filter's; what stays undecided is not sound. Replies go through the
    cache, and the filter's budget limits them anew. Raises ConfigError where there is no judge.
    """
    if not config.judges:
        raise ConfigError("evaluate.fallback needs a judge; name one here", key="filter.judges")
    seats, escalation = seat_judges(
        config,
        teachers,
        seed=seed,
        cache=cache,
        base_dir=base_dir,
        progress=progress,
        budget=Budget(config.budget_usd, config.budget_tokens, section="filter"),
    )
    panel = Panel(seats, escalation, config.model_copy(update={"undecided": "drop"}) if not escalation else config)

    def sound(items: Sequence[tuple[Question, str]]) -> list[bool]:
        cases = [Case(question, _path(question, text)) for question, text in items]
        return [finding.outcome == "keep" for finding in panel.run(cases)]

    return sound


def _path(question: Question, text: str) -> ReasoningPath:
    return ReasoningPath(
        id=f"0/{question.id}/answer",
        question_id=question.id,
        teacher="",
        style="",
        prompt_hash="",
        text=text,
        answer=None,
    )
