from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from qrdistill.base.settings import Name, Settings

# adapters start at zero and take ten times the rate that pretrained weights bear
ADAPTER_RATE, FULL_RATE = 2e-4, 2e-5
_Share = Annotated[float, Field(ge=0, lt=1)]


class LoraSettings(Settings):
    """Low-rank adapters (arXiv 2106.09685) instead of all weights."""

    rank: int = Field(default=16, gt=0)
    """Of each adapter's two matrices."""
    alpha: float = Field(default=32.0, gt=0)
    """Adapters are scaled by alpha / rank (rslora: alpha / sqrt(rank))."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Share of an adapter's inputs that are dropped while training."""
    targets: list[str] | Literal["all-linear"] = "all-linear"
    """Names of the layers that get an adapter, or `all-linear`."""
    rslora: bool = False
    """Scale by the root of the rank, so that high ranks learn as fast (arXiv 2312.03732)."""
    dora: bool = False
    """Learn direction and magnitude apart (arXiv 2402.09353); slower."""


class StudentConfig(Settings):
    """A model that is trained, or measured beside those that are."""

    name: Name
    """Of the student and its folder, `students/NAME`."""
    model: str
    """A folder (relative to the config file), a hub id, or `<scheme>:<name>` of a registered scheme."""
    lora: LoraSettings | None = None
    """Train low-rank adapters; null: all weights train."""
    quantize: Literal["nf4"] | None = None
    """`nf4`: the base weights in 4 bits (QLoRA), with `lora` only; null: as they are."""
    learning_rate: float = Field(default_factory=lambda data: ADAPTER_RATE if data.get("lora") else FULL_RATE, gt=0)
    """Of the optimizer, at its highest; left out: 2e-4 with `lora`, 2e-5 where all weights train."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Of the optimizer, per step and unit of learning rate."""
    betas: tuple[_Share, _Share] = (0.9, 0.95)
    """Of AdamW: decay of the gradient's mean and of its square."""
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """`adamw_8bit` keeps its state in 8 bits; needs bitsandbytes and a GPU."""
    frozen: bool = False
    """Measured and routed to, never trained."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the weights; auto: bfloat16 for frozen or adapted weights on a GPU, float32 otherwise."""
    trust_remote_code: bool = False
    """Run code that comes with the model's files; only for models whose code you have read."""
    max_context: int | None = Field(default=None, gt=0)
    """Tokens of prompt and path together; null: the model's own limit."""
