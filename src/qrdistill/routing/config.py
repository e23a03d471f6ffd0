from __future__ import annotations

from typing import Literal

from pydantic import Field

from qrdistill.base.settings import Settings, ShapesNothing

# When a router counts as failed, in training and in studies alike.
COLLAPSE = 0.9  # share of the paths that one student takes
NEAR_RANDOM = 0.02  # of log S: what a path tells about its student


class EncoderConfig(Settings):
    """The frozen encoder of [question; path]."""

    kind: Literal["hashing", "huggingface"] = "hashing"
    model: str | None = None  # huggingface: folder or hub id, e.g. FacebookAI/roberta-base
    dimension: int = Field(default=128, gt=0)  # hashing: after the random projection
    max_tokens: int = Field(default=512, gt=0)
    batch_size: ShapesNothing[int] = Field(default=32, gt=0)
    trust_remote_code: bool = False


class RouterConfig(Settings):
    kind: Literal["learned", "random", "style", "fixed_loss", "all", "best_style", "bandit", "balanced"] = "learned"
    hidden: int = Field(default=64, gt=0)
    learning_rate: float = Field(default=5e-3, gt=0)
    temperature: tuple[float, float] = (1.5, 0.5)  # Gumbel-Softmax, first and last step
    balance: float = Field(default=1.0, ge=0)  # weight of the load-balance term
    entropy: float = Field(default=0.0, ge=0)  # weight of the paper's per-path entropy term
    peer_loss: Literal["ledger", "fresh", "dense"] = "ledger"
    learning_state: bool = True  # the ledger's losses as router features
    styles: dict[str, str] = {}  # style rule: style -> student; best_style: student -> style
