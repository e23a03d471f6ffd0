from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from qrdistill.base.settings import Settings
from qrdistill.students.engines.config import AnyEngine, EngineConfig


class OwnPathsConfig(Settings):
    """How the students' own paths join the pool."""

    rounds: int = Field(default=0, ge=0)
    """Of sampling the students, filtering and training on; 0: none, the paper's method."""
    warm_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of `train.steps` that is spent on the teachers' paths before the first round."""
    ask: Literal["all", "gaps"] = "gaps"
    """Which questions are sampled: all, or `gaps`, where the student's style has no kept path yet."""
    samples: int = Field(default=8, gt=0)
    """Paths per question that is asked, and student."""
    temperature: float = Field(default=0.8, gt=0)
    """Of sampling."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Tokens of one sampled path, at most; null: what 99 % of the kept paths take, and a quarter more."""
    peers: Literal["own", "peer", "fill"] = "fill"
    """Whose paths a student reads: its `own`, its `peer`s', or `fill`: a peer's only where it has none itself."""
    gold: bool = True
    """Sampled paths are checked against gold; false: where no teacher path was kept, the students' agreement stands
    in."""
    min_agreement: float = Field(default=0.6, gt=0, le=1)
    """With `gold: false`: the share of the sampled paths that have to state one answer."""
    restart: bool = False
    """Train each round from the base weights instead of going on."""
    ask_teachers: bool = False
    """Each round also asks the teachers again, for the questions without a kept path."""
    engine: AnyEngine = EngineConfig()
    """What writes them, a name or a section: `local`, `vllm`, `{kind: openai, base_url: ...}`."""

    def without_effect(self) -> Iterator[str]:
        """A warning where keys were written that change nothing; none of a resolved config, which names every key.

        >>> list(OwnPathsConfig(samples=4, peers="own").without_effect())
        ['options without effect: own_paths.peers, own_paths.samples (own_paths.rounds is 0)']
        """
        written = self.model_fields_set - {"rounds"}
        idle, why = written, "rounds is 0"
        if self.rounds:
            idle, why = written & {"min_agreement"} if self.gold else set[str](), "gold is true"
        if idle and written < set(type(self).model_fields) - {"rounds"}:
            yield f"options without effect: {', '.join(f'own_paths.{key}' for key in sorted(idle))} (own_paths.{why})"
