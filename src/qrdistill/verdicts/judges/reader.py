"""The filter's judges as readers of what students write: sound or not, without any gold answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qrdistill.base.errors import ConfigError
from qrdistill.base.progress import Progress
from qrdistill.base.records import Question, ReasoningPath
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.paths.config import TeacherConfig
from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.judges.panel import seat_panel
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
    # what stays undecided is not sound, also where the filter would keep it
    decided = config if config.undecided == "escalate" else config.model_copy(update={"undecided": "drop"})
    panel = seat_panel(decided, teachers, cache=cache, base_dir=base_dir, seed=seed, progress=progress)
    assert panel is not None

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
