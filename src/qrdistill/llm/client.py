"""Chat teachers: how a request is made, who answers it, and what can go wrong.

A chat client answers one request at a time (`await client.complete(request)`) and says of a failure
whether asking again can help. Retrying, limits, budget and the cache are `llm.ask`'s.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

from qrdistill.base.errors import ConfigError
from qrdistill.base.plugins import registry
from qrdistill.llm.config import OpenAITeacher, TransformersTeacher
from qrdistill.llm.finish_reasons import ending
from qrdistill.llm.reply_cache import ChatRequest, Reply

ChatConfig = OpenAITeacher | TransformersTeacher
OPENAI_URL = "https://api.openai.com/v1"


class Transient(Exception):
    """Asking again can help: 408, 409, 429, 5xx, a broken connection, a reply that makes no sense.

    `wasted` is what the attempt cost all the same: the server counted tokens, or a reply came that cannot be read.
    `daily`: not before tomorrow, because a quota is used up.
    """

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        unreachable: bool = False,
        daily: bool = False,
        wasted: Reply | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason, self.status, self.retry_after = reason, status, retry_after
        self.unreachable, self.daily, self.wasted = unreachable, daily, wasted


class Refused(Exception):
    """Asking again cannot help. `everything`: nor can any other request (no credit left, a bad key)."""

    def __init__(
        self, reason: str, *, status: int | None = None, everything: bool = False, wasted: Reply | None = None
    ) -> None:
        super().__init__(reason)
        self.reason, self.status, self.everything, self.wasted = reason, status, everything, wasted


class Mended(Exception):
    """The server does not take a field of the request, and the next one is sent without it; `note` says so once."""

    def __init__(self, note: str = "") -> None:
        super().__init__(note)
        self.note = note


class ChatClient(Protocol):
    async def complete(self, request: ChatRequest) -> Reply:
        """Raises Transient or Refused; Mended where the same request is to be sent again at once."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class TellsHealth(Protocol):
    """A chat client that can be asked, for nothing, whether its server is there."""

    async def alive(self) -> bool: ...


class Requests:
    """Makes the requests that one teacher (or judge) is asked, with its sampling settings.

    `extra` adds to the config's `extra_body`.
    """

    def __init__(self, config: ChatConfig, *, base_dir: Path, extra: Mapping[str, object] | None = None) -> None:
        body = {**(config.extra_body if isinstance(config, OpenAITeacher) else {}), **(extra or {})}
        self._config, self._extra = config, json.dumps(body, sort_keys=True)
        self._host, self._model = address(config, base_dir)

    def __call__(
        self,
        messages: Sequence[tuple[str, str]],
        *,
        sample: int = 0,
        temperature: float | None = None,
        max_tokens: int | None = None,
        label: str = "",
    ) -> ChatRequest:
        config = self._config
        return ChatRequest(
            host=self._host,
            model=self._model,
            messages=tuple(messages),
            temperature=config.temperature if temperature is None else temperature,
            top_p=config.top_p,
            max_tokens=max_tokens or config.max_tokens,
            seed=None if config.seed is None else config.seed + sample,
            sample=sample,
            extra=self._extra,
            label=label,
        )


def longer(config: ChatConfig, request: ChatRequest, reply: Reply) -> ChatRequest | None:
    """The request that asks once more for a truncated reply, with `retry_truncated` tokens."""
    limit = config.retry_truncated if isinstance(config, OpenAITeacher) else None
    if limit is None or ending(reply.finish_reason) != "cut" or request.limit >= limit:
        return None
    return request.limited(limit, limit)


def grouped(requests: Iterable[ChatRequest], size: int) -> Iterator[list[ChatRequest]]:
    """Walks lazily, `size` requests at a time."""
    source = iter(requests)
    while group := list(islice(source, size)):
        yield group


def address(config: ChatConfig, base_dir: Path) -> tuple[str, str]:
    """(host, model) as the cache tells models apart; a local folder also by its files' sizes and dates."""
    if isinstance(config, OpenAITeacher):
        host = ""
        for url in reversed(config.addresses):  # the first one names the model
            parts = urlsplit(url or OPENAI_URL)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ConfigError(
                    f"{url!r} is not a web address such as http://localhost:8000/v1",
                    key=f"teachers.{config.name}.{'base_url' if url == config.base_url else 'base_urls'}",
                )
            host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
        return host, config.model
    folder = base_dir / config.model
    if not folder.is_dir():
        return "transformers", config.model
    from qrdistill.base.store import content_hash

    files = sorted(file for file in folder.iterdir() if file.is_file())
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return f"transformers:{content_hash(facts)}", str(folder.resolve())


def make_client(config: ChatConfig, *, base_dir: Path) -> ChatClient:
    """Raises ConfigError or InputError where this teacher cannot be asked at all."""
    return registry.find("teachers", config.kind, key=f"teachers.{config.name}.kind")(config, base_dir=base_dir)


_PIECES = re.compile(r"[A-Za-z]{1,6}|\d{1,3}|[^\sA-Za-z\d]")


def estimate_tokens(text: str) -> int:
    """About how many tokens a model counts in a text, without its tokenizer: letters in sixes, digits in
    threes, everything else singly. It is an estimate on purpose: a hosted model's own tokenizer is not
    at hand, and no download is made for it.

    >>> estimate_tokens("Ann has 12 apples.")
    5
    """
    return sum(1 for _ in _PIECES.finditer(text))


def prompt_estimate(request: ChatRequest) -> int:
    """Estimated prompt tokens, with four a message for the chat template."""
    return sum(4 + estimate_tokens(content) for _, content in request.messages)
