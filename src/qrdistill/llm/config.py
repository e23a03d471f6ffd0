"""Models that are asked over requests, as teachers or judges."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from qrdistill.base.settings import Name, Settings, ShapesNothing
from qrdistill.base.thoughts import Thinking
from qrdistill.base.untrusted.secrets import looks_like_key, secret_places

_WITHOUT_BATCHES = {  # hosts whose OpenAI-compatible endpoint lacks what a batch needs
    "anthropic.com": "its Message Batches are another protocol than OpenAI's",
    "generativelanguage.googleapis.com": "its compatible endpoint makes batches, but takes no files for them",
}


def no_key_in_the_address(name: str, url: str | None) -> None:
    """Raises ValueError, which does not quote it, where an address holds what keys are put into."""
    parts = urlsplit(url or "")
    if "@" in parts.netloc or parts.query:
        raise ValueError(
            f"{name} holds a user name or a query, where keys stand; give the address alone, and the NAME "
            "of the variable that holds the key as api_key_env"
        )


def variable_name(name: str | None) -> None:
    """Raises ValueError, which does not quote it, where `api_key_env` is no variable's name, so perhaps a key."""
    if name is not None and (looks_like_key(name) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)):
        raise ValueError(
            "api_key_env is no variable's name; put the key into the environment (export MY_KEY=...) and "
            "give the NAME of the variable, MY_KEY"
        )


def no_key_in_the_body(extra: dict[str, object]) -> None:
    """Raises ValueError, which does not quote it, where further fields of requests hold what looks like a key."""
    for place in secret_places(extra):
        raise ValueError(
            f"extra_body.{place} holds what looks like a key, and a config is kept in the run directory; put the "
            "key into the environment and give the NAME of its variable as api_key_env"
        )


class Price(Settings):
    """US dollars per million tokens."""

    input: float = Field(default=0.0, ge=0)
    """Dollars per million prompt tokens; with `output`, what the budget and the report count by."""
    output: float = Field(default=0.0, ge=0)
    """Dollars per million completion tokens."""

    @property
    def known(self) -> bool:
        return self.input > 0 or self.output > 0


class TeacherBase(Settings):
    """What every teacher has."""

    name: Name
    """What its paths carry as `teacher`; unique among the teachers."""
    styles: list[str] | None = None
    """Only these styles are asked of it; null: every style of `paths.styles`."""
    thinking: Thinking = "drop"
    """What trains of a path whose teacher thinks first: the answer alone (`drop`), thought and answer (`keep`),
    or the thought alone (`only`). The thought is stored in any case; a judge's own thoughts are never read."""


class Sampling(TeacherBase):
    """What every teacher has that writes when it is asked."""

    model: str
    """The model's name at the endpoint, or a folder or hub id for `transformers`."""
    temperature: float = Field(default=0.8, ge=0)
    """Of sampling; 0 is greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Share of the probability that is sampled from; 1: all of it."""
    max_tokens: int = Field(default=1000, gt=0)
    """Tokens of one reply, at most."""
    seed: int | None = None
    """Sent with every request, for endpoints that sample by a seed; null: none is sent."""
    system: str | None = None
    """A system message before every prompt; null: none."""


class OpenAITeacher(Sampling):
    """Any OpenAI-compatible endpoint."""

    kind: Literal["openai"]
    """`openai`: any server that speaks OpenAI's chat completions."""
    base_url: str | None = None
    """The endpoint's address, such as http://localhost:8000/v1; null: OpenAI's own."""
    base_urls: ShapesNothing[list[str]] = []
    """Several addresses that serve this model: balanced, and one that is down is left alone until it is back.
    The cache knows replies by `base_url`, whichever address answered; without one, by the first of these."""
    api_key_env: ShapesNothing[str | None] = None
    """The NAME of the environment variable that holds the key; keys never stand in a config."""
    extra_body: dict[str, object] = {}
    """Further fields of every request, as the endpoint defines them."""
    timeout: ShapesNothing[float] = Field(default=120.0, gt=0)
    """Seconds that one request may take."""
    requests_per_minute: ShapesNothing[float | None] = Field(default=None, gt=0)
    """Requests are spread so that no more start in a minute; null: no such limit."""
    tokens_per_minute: ShapesNothing[float | None] = Field(default=None, gt=0)
    """Prompt and completion tokens together; null: no such limit."""
    concurrency: ShapesNothing[int] = Field(default=32, gt=0)
    """Requests under way at once at each address, at most; fewer while it says 429 or grows slower."""
    max_attempts: ShapesNothing[int] = Field(default=6, gt=0)
    """Tries of one request before it is recorded as a failure."""
    retry_truncated: int | None = Field(default=None, gt=0)
    """Tokens; a reply that `max_tokens` cut is asked for once more with this limit; null: it stays cut."""
    price: ShapesNothing[Price] = Field(default_factory=lambda: Price(input=0.0, output=0.0))
    """Dollars per million tokens; without a price, costs count as 0."""

    batch: ShapesNothing[bool] = False
    """Ask through the endpoint's batch API (files and batches, as OpenAI has them): cheaper, and within a day."""
    batch_discount: ShapesNothing[float] = Field(default=0.5, ge=0, le=1)
    """The part of the price that a batch saves; 0.5: half price."""
    batch_requests: ShapesNothing[int] = Field(default=5000, gt=0, le=50_000)
    """Requests in one batch, at most; what one costs at most is taken out of the budget before it is sent."""

    @property
    def addresses(self) -> list[str | None]:
        """Where it is asked; None is OpenAI's own."""
        return list(dict.fromkeys([*([self.base_url] if self.base_url else []), *self.base_urls])) or [None]

    @property
    def in_batches(self) -> OpenAITeacher:
        """The same at what a batch costs."""
        part = 1 - self.batch_discount
        price = Price(input=part * self.price.input, output=part * self.price.output)
        return self.model_copy(update={"price": price})

    @property
    def price_paid(self) -> Price:
        """At which it is asked: a batch's, or the plain one."""
        return self.in_batches.price if self.batch else self.price

    @model_validator(mode="after")
    def _batches_are_there(self) -> OpenAITeacher:
        if not self.batch:
            return self
        host = urlsplit(self.base_url or "").hostname or ""
        if lacking := next((words for known, words in _WITHOUT_BATCHES.items() if host.endswith(known)), None):
            raise ValueError(f"batch: {host} has no batch API that this client speaks ({lacking}); leave `batch` out")
        if len(self.addresses) > 1:
            raise ValueError("batch: a batch goes to one address; give base_url alone, or leave `batch` out")
        return self

    @model_validator(mode="before")
    @classmethod
    def _first_address(cls, data: Any) -> Any:
        """The first of several is the one that the cache knows replies by."""
        if isinstance(data, dict) and data.get("base_url") is None:
            several = data.get("base_urls")
            if isinstance(several, list) and several and isinstance(several[0], str):
                return {**data, "base_url": several[0]}
        return data

    @model_validator(mode="after")
    def _no_keys(self) -> OpenAITeacher:
        """The config is kept in the run directory; of the section, not the field, so that no message quotes it."""
        for name, url in [("base_url", self.base_url), *(("base_urls", url) for url in self.base_urls)]:
            no_key_in_the_address(name, url)
        variable_name(self.api_key_env)
        no_key_in_the_body(self.extra_body)
        return self


class TransformersTeacher(Sampling):
    """A local Hugging Face causal model."""

    kind: Literal["transformers"]
    """`transformers`: a model on this machine, without a server."""
    batch_size: ShapesNothing[int] = Field(default=8, gt=0)
    """Prompts that are answered at once."""
    device: ShapesNothing[str] = "auto"
    """`cpu`, `cuda`, `cuda:1`, or `auto`: a GPU where there is one."""
    trust_remote_code: bool = False
    """Run code that comes with the model's files; only for models whose code you have read."""
