"""Models that are asked over requests, as teachers or judges."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from qrdistill.base.secrets import looks_like_key, secret_places
from qrdistill.base.settings import Name, Settings, ShapesNothing


class Price(Settings):
    """US dollars per million tokens."""

    input: float = Field(default=0.0, ge=0)
    output: float = Field(default=0.0, ge=0)

    @property
    def known(self) -> bool:
        return self.input > 0 or self.output > 0


class TeacherBase(Settings):
    name: Name
    styles: list[str] | None = None  # None: every style of `paths.styles`


class Sampling(TeacherBase):
    model: str
    temperature: float = Field(default=0.8, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=1000, gt=0)
    seed: int | None = None
    system: str | None = None


class OpenAITeacher(Sampling):
    """Any OpenAI-compatible endpoint."""

    kind: Literal["openai"]
    base_url: str | None = None
    api_key_env: ShapesNothing[str | None] = None  # the variable's NAME; keys never stand in a config
    extra_body: dict[str, object] = {}
    timeout: ShapesNothing[float] = Field(default=120.0, gt=0)  # seconds per request
    requests_per_minute: ShapesNothing[float | None] = Field(default=None, gt=0)
    tokens_per_minute: ShapesNothing[float | None] = Field(default=None, gt=0)
    concurrency: ShapesNothing[int] = Field(default=32, gt=0)
    max_attempts: ShapesNothing[int] = Field(default=6, gt=0)
    retry_truncated: int | None = None  # ask once more with this max_tokens where a reply was cut
    price: ShapesNothing[Price] = Field(default_factory=lambda: Price(input=0.0, output=0.0))

    @model_validator(mode="after")
    def _no_key_in_the_address(self) -> OpenAITeacher:
        """The config is kept in the run directory; of the section, not the field, so that no message quotes it."""
        parts = urlsplit(self.base_url or "")
        if "@" in parts.netloc or parts.query:
            raise ValueError(
                "base_url holds a user name or a query, where keys stand; give the address alone, and the NAME "
                "of the variable that holds the key as api_key_env"
            )
        return self

    @model_validator(mode="after")
    def _no_key_in_the_config(self) -> OpenAITeacher:
        """Of the section too: the message names the place, never the value."""
        name = self.api_key_env
        if name is not None and (looks_like_key(name) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)):
            raise ValueError(
                "api_key_env is no variable's name; put the key into the environment (export MY_KEY=...) and "
                "give the NAME of the variable, MY_KEY"
            )
        for place in secret_places(self.extra_body):
            raise ValueError(
                f"extra_body.{place} holds what looks like a key, and a config is kept in the run directory; put the "
                "key into the environment and give the NAME of its variable as api_key_env"
            )
        return self


class TransformersTeacher(Sampling):
    """A local Hugging Face causal model."""

    kind: Literal["transformers"]
    batch_size: ShapesNothing[int] = Field(default=8, gt=0)
    device: ShapesNothing[str] = "auto"
    trust_remote_code: bool = False
