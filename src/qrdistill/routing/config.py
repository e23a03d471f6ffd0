from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from qrdistill.base.plugins import registry
from qrdistill.base.plugins.kinds import Kinds
from qrdistill.base.settings import Settings, ShapesNothing

# When a router counts as failed, in training and in studies alike.
COLLAPSE = 0.9  # share of the paths that one student takes
NEAR_RANDOM = 0.02  # of log S: what a path tells about its student

_WARM_LEAST, _WARM_SHARE = 64, 0.02  # paths measured before the first step: at least so many, this share of the pool


class EncoderConfig(Settings):
    """The frozen encoder of [question; path]."""

    kind: str = "hashing"
    """`hashing` (no weights), `huggingface` (a frozen model), a registered name or `module:function`."""
    model: str | None = None
    """For huggingface: a folder or hub id, such as FacebookAI/roberta-base."""
    dimension: int = Field(default=128, gt=0)
    """For hashing: length of the vectors after the random projection."""
    max_tokens: int = Field(default=512, gt=0)
    """For huggingface: tokens of question and path that are read."""
    batch_size: ShapesNothing[int] = Field(default=32, gt=0)
    """For huggingface: pairs that are embedded at once."""
    trust_remote_code: bool = False
    """For huggingface: run code that comes with the model's files."""


class RouterConfig(Settings):
    """Who gets which path; `learned` is the paper's."""

    kind: str = "learned"
    """Who decides which student reads which path: learned, random, style, fixed_loss, all, best_style, bandit,
    balanced."""
    hidden: int = Field(default=64, gt=0)
    """For learned: width of the gate's hidden layer."""
    learning_rate: float = Field(default=5e-3, gt=0)
    """For learned: of the gate."""
    temperature: tuple[PositiveFloat, PositiveFloat] = (1.5, 0.5)
    """For learned: of the Gumbel-Softmax at the first and the last step."""
    balance: float = Field(default=1.0, ge=0)
    """For learned: weight of the load-balance term."""
    entropy: float = Field(default=0.0, ge=0)
    """For learned: weight of the paper's per-path entropy term."""
    peer_loss: Literal["predicted", "fresh", "dense"] = "predicted"
    """Losses of pairs that are not trained in a step: `predicted` from all that was measured, measured by a forward
    pass (`fresh`), or trained too (`dense`)."""
    learning_state: bool = True
    """For learned: the students' current losses on the path, measured or predicted, are features of the gate."""
    warm: Literal["sample", "pool", "none"] = "sample"
    """For learned: what is measured before the first step, so that every student's state is known from then on: a
    sample of each style (2 % of the pool, at least 64 paths), the whole pool, or nothing."""
    styles: dict[str, str] = {}
    """For style: style -> student; for best_style: student -> style."""

    def num_warm(self, num_paths: int) -> int:
        """Paths of the pool that are measured before a learned router's first step.

        >>> [RouterConfig(warm=warm).num_warm(10_000) for warm in ("sample", "pool", "none")]
        [200, 10000, 0]
        """
        sample = max(_WARM_LEAST, math.ceil(_WARM_SHARE * num_paths))
        return min(num_paths, {"sample": sample, "pool": num_paths, "none": 0}[self.warm])

    @property
    def reads_embeddings(self) -> bool:
        """Whether the paths have to be embedded for this router."""
        return self.kind == "learned"


def _of(group: str, settings: type[Settings]) -> Kinds:
    """What comes with the package shares one class of settings; asking each for its own would import torch."""
    return Kinds(group, base=settings, plain=settings, own=dict.fromkeys(registry.bundled(group), settings))


AnyEncoder = Annotated[EncoderConfig, _of("encoders", EncoderConfig)]
AnyRouter = Annotated[RouterConfig, _of("routers", RouterConfig)]
