from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from qrdistill.base.settings import Settings, ShapesNothing
from qrdistill.students.engines.config import AnyEngine, EngineConfig


def _renamed(engine: Any) -> Any:
    """Runs of before engines had sections call the own decoder `torch`."""
    return "local" if engine == "torch" else engine


class EvaluateConfig(Settings):
    """How the trained students are measured."""

    split: Literal["dev", "test"] = "test"
    """The questions that the scores are of."""
    base: bool = True
    """The untrained students answer the same prompts, so that scores say what training has changed."""
    styles: Literal["best_on_dev", "all"] | list[str] = "best_on_dev"
    """Styles that each student answers in: its best on dev, all, or a list."""
    free: bool = True
    """Also answer without a style's hint."""
    samples: int = Field(default=1, gt=0)
    """1: one greedy answer; more: that many sampled answers beside the greedy one."""
    temperature: float = Field(default=0.8, gt=0)
    """Of the sampled answers."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Tokens of one answer, at most; null: what 99 % of the kept paths take, and a quarter more."""
    stop: list[Annotated[str, Field(min_length=1)]] = []
    """Texts that end an answer, and a path that a student samples, before they are written: `["\\nQuestion:"]`."""
    batch_size: ShapesNothing[int] = Field(default=64, gt=0)
    """Prompts that are answered at once."""
    vote: bool = True
    """Also score the students' vote."""
    vote_above: float = Field(default=0.5, ge=0, lt=1)
    """A student's style votes only if its share of right answers on dev is above this."""
    vote_styles: int = Field(default=3, gt=0)
    """At most so many styles of each student vote, its best on dev."""
    fallback: bool = False
    """The filter's judges read each answer; where one does not pass, the next pair is asked."""
    engine: Annotated[AnyEngine, BeforeValidator(_renamed)] = EngineConfig()
    """What writes the answers, a name or a section: `local`, `vllm`, `{kind: openai, base_url: ...}`."""

    @property
    def limit(self) -> int:
        """`max_tokens`; where it is open and no path tells, 160."""
        return self.max_tokens or 160
