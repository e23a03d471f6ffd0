"""What can be said of the filter before a path is paid for: that it will run, and what judging costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qrdistill.base.errors import ConfigError
from qrdistill.base.records import Question
from qrdistill.llm.client import address, estimate_tokens
from qrdistill.llm.config import OpenAITeacher, TransformersTeacher
from qrdistill.verdicts.checks.contamination import refuse_contaminated
from qrdistill.verdicts.checks.program import require_sandbox
from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.judges.judge import appoint

if TYPE_CHECKING:
    from qrdistill.paths.config import TeacherConfig

VERDICT_TOKENS = 100  # two sentences, a quoted step and the JSON around them


def check_filter(
    config: FilterConfig,
    teachers: Sequence[TeacherConfig],
    questions: Sequence[Question],
    *,
    base_dir: Path = Path(),
) -> None:
    """Raises now what `filter_paths` would raise after the paths have been bought.

    ConfigError: an unknown judge, one without its key or address, a sandbox that this machine lacks.
    InputError: train questions that are also asked in dev or test.
    """
    for judge, key in appoint(config, teachers):
        if isinstance(judge, OpenAITeacher):
            from qrdistill.llm.openai_client import api_key

            try:
                address(judge, base_dir)
                api_key(judge)
            except ConfigError as error:
                raise ConfigError(error.message, key=key) from error
    if config.program:
        require_sandbox()
    refuse_contaminated(questions, config)


@dataclass(frozen=True)
class JudgePlan:
    """One judge's share, if every path came as far as the judges. US dollars; tokens are estimates."""

    name: str
    model: str
    calls_at_most: int
    prompt_tokens: int
    output_tokens: int
    usd: float
    usd_at_most: float  # if every reply used all its max_tokens


def plan_judging(
    config: FilterConfig,
    teachers: Sequence[TeacherConfig],
    *,
    num_paths: int,
    path_tokens: float,
    question: str,
) -> list[JudgePlan]:
    """What the panel would be asked about `num_paths` paths of `path_tokens` tokens each.

    `question` is a typical one. Votes that turn out not to matter are counted, paths that the other
    checks drop too: it is an upper bound. The judge that undecided paths are escalated to is left out.
    """
    from qrdistill.verdicts.judges.prompt import judge_prompt

    plans: list[JudgePlan] = []
    around = estimate_tokens(judge_prompt(question, ""))
    for judge, key in appoint(config, teachers):
        if not isinstance(judge, OpenAITeacher | TransformersTeacher) or key == "filter.escalate_to":
            continue
        calls = num_paths * config.votes
        prompt, output = round(calls * (around + path_tokens)), calls * min(VERDICT_TOKENS, judge.max_tokens)
        price = judge.price_paid if isinstance(judge, OpenAITeacher) else None
        usd, most = (
            (prompt * price.input + tokens * price.output) / 1e6 if price else 0.0
            for tokens in (output, calls * judge.max_tokens)
        )
        plans.append(JudgePlan(judge.name, judge.model, calls, prompt, output, usd, most))
    return plans
