from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from qrdistill.base import registry
from qrdistill.base.kinds import Kinds
from qrdistill.base.settings import Settings, ShapesNothing

# When a router counts as failed, in training and in studies alike.
COLLAPSE = 0.9  # share of the paths that one student takes
NEAR_RANDOM = 0.02  # of log S: what a path tells about its student


class EncoderConfig(Settings):
    """The frozen encoder of [question; path]."""

    kind: str = "hashing"
    model: str | None = None  # huggingface: folder or hub id, e.g. FacebookAI/roberta-base
    dimension: int = Field(default=128, gt=0)  # hashing: after the random projection
    max_tokens: int = Field(default=512, gt=0)
    batch_size: ShapesNothing[int] = Field(default=32, gt=0)
    trust_remote_code: bool = False


class RouterConfig(Settings):
    kind: str = "learned"
    hidden: int = Field(default=64, gt=0)
    learning_rate: float = Field(default=5e-3, gt=0)
    temperature: tuple[float, float] = (1.5, 0.5)  # Gumbel-Softmax, first and last step
    balance: float = Field(default=1.0, ge=0)  # weight of the load-balance term
    entropy: float = Field(default=0.0, ge=0)  # weight of the paper's per-path entropy term
    peer_loss: Literal["ledger", "fresh", "dense"] = "ledger"
    learning_state: bool = True  # the ledger's losses as router features
    styles: dict[str, str] = {}  # style rule: style -> student; best_style: student -> style

    @property
    def reads_embeddings(self) -> bool:
        """Whether the paths have to be embedded for this router."""
        return self.kind == "learned"


def _of(group: str, settings: type[Settings]) -> Kinds:
    """What comes with the package shares one class of settings; asking each for its own would import torch."""
    return Kinds(group, base=settings, plain=settings, own=dict.fromkeys(registry.bundled(group), settings))


AnyEncoder = Annotated[EncoderConfig, _of("encoders", EncoderConfig)]
AnyRouter = Annotated[RouterConfig, _of("routers", RouterConfig)]
