from __future__ import annotations

from typing import Literal

from pydantic import Field

from qrdistill.base.settings import Name, Settings


class LoraSettings(Settings):
    rank: int = Field(default=8, gt=0)
    alpha: float = Field(default=32.0, gt=0)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: list[str] | Literal["all-linear"] = ["q_proj", "v_proj"]
    rslora: bool = False
    dora: bool = False


class StudentConfig(Settings):
    name: Name
    model: str  # a folder (relative to the config file), a hub id, or scheme:name
    lora: LoraSettings | None = None  # None: all weights train
    quantize: Literal["nf4"] | None = None
    double_quantize: bool = True
    learning_rate: float = Field(default=2e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    frozen: bool = False  # measured and routed to, never trained
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    trust_remote_code: bool = False
    max_context: int | None = None  # tokens; None: the model's own
