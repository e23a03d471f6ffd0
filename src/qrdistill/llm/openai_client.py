"""Chat client `openai`: any OpenAI-compatible endpoint, over real HTTP through the openai SDK.

The SDK carries the requests (connections, TLS, proxies, error classes); its own retries are switched
off, because only `paths.fill` sees the whole run. Bodies are parsed here, leniently: servers differ,
and the cache keeps the body as it came. Keys come from the environment only, and every text that came
from outside is redacted before it goes anywhere, also where a server echoes the key.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from qrdistill.base.errors import ConfigError, InputError
from qrdistill.base.store import redact
from qrdistill.llm.client import OPENAI_URL, Refused, Transient, estimate_tokens, prompt_estimate
from qrdistill.llm.config import OpenAITeacher
from qrdistill.llm.reply_cache import ChatRequest, Reply

_RETRY = frozenset({408, 409, 425, 429})  # beside every 5xx
_NO_CREDIT = ("insufficient_quota", "insufficient_balance", "billing_hard_limit_reached")
_SHOWN = 300  # characters of a server's message that are kept
_ESCAPES = ("\\u", "\\/", "%", "&#")  # a text without any of these spells nothing in another way


class OpenAIChat:
    """`complete` sends one request; raises Transient or Refused, never anything of the SDK's."""

    def __init__(self, config: OpenAITeacher, *, base_dir: Path = Path()) -> None:
        try:
            import httpx2
            from openai import AsyncOpenAI
        except ImportError as error:
            raise InputError("teachers of kind openai need the SDK: pip install 'qrdistill[api]'") from error
        self._config = config
        # longest first: a secret may be the beginning of another
        self._secrets = sorted(
            (
                (value.strip(), f"<{name}>", _spelled(value.strip()))
                for name, value in os.environ.items()
                if _is_secret(name, config)
            ),
            key=lambda secret: -len(secret[0]),
        )
        self._raw = httpx2.Response
        self._client = AsyncOpenAI(
            api_key=api_key(config),
            base_url=config.base_url or OPENAI_URL,  # given, so that OPENAI_BASE_URL cannot change it
            timeout=config.timeout,
            max_retries=0,
        )

    async def close(self) -> None:
        await self._client.close()

    async def complete(self, request: ChatRequest) -> Reply:
        import openai

        begun = time.monotonic()
        try:
            # the SDK's time limit is per read: a server that drips would hold a request for ever
            async with asyncio.timeout(self._config.timeout):
                response = await self._client.post("/chat/completions", cast_to=self._raw, body=request.body())
        except openai.APIStatusError as error:
            failure = self._status(error.status_code, error.response.text, error.response.headers)
        except (TimeoutError, openai.APITimeoutError):
            failure = Transient(f"no reply within {self._config.timeout:g} s")
        except openai.APIConnectionError as error:
            cause = type(error.__cause__).__name__
            failure = Transient(
                self._redact(f"connection failed ({cause}: {error.__cause__})"),
                unreachable=cause in ("ConnectError", "ConnectTimeout"),
            )
        else:
            return self._reply(request, response.text, time.monotonic() - begun)
        raise failure  # outside the handler: the SDK's exception holds the request's headers

    def _status(self, status: int, text: str, headers: Any) -> Transient | Refused:
        message, code = _error_message(text)
        reason = f"HTTP {status}: {self._redact(message)[:_SHOWN]}"
        if status == 402 or code in _NO_CREDIT:
            return Refused(reason, status=status, everything=True)
        if status in _RETRY or status >= 500:
            return Transient(reason, status=status, retry_after=_retry_after(headers))
        return Refused(reason, status=status)

    def _reply(self, request: ChatRequest, text: str, latency: float) -> Reply:
        try:
            body = json.loads(text)
            choices = body["choices"]
        except (json.JSONDecodeError, KeyError, TypeError):
            message, code = _error_message(text)
            shown = self._redact(message)[:_SHOWN]
            if code in _NO_CREDIT:
                raise Refused(shown, everything=True) from None
            raise Transient(f"not a chat completion: {shown!r}") from None
        usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
        # charged for, though it may hold nothing: a server that counts no tokens is taken to charge none
        wasted = self._priced(_count(usage.get("prompt_tokens"), int), _count(usage.get("completion_tokens"), int))
        if not isinstance(choices, list) or not choices:
            raise Transient("the reply has no choices", wasted=wasted)
        choice = choices[0]  # a server that sends more than was asked for: the first one counts
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            raise Transient("the reply has no message", wasted=wasted)
        content, finish = message.get("content"), str(choice.get("finish_reason") or "stop")
        if isinstance(content, list):  # some servers send parts
            content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        if finish == "content_filter" or message.get("refusal"):
            said = self._redact(str(message.get("refusal") or content or ""))
            raise Refused(f"content filter: {said[:_SHOWN]}", wasted=wasted)
        if not isinstance(content, str) or not content.strip():
            if finish != "length":
                raise Transient("the reply is empty", wasted=wasted)
            content = ""  # a reasoning model that used up its tokens before it said anything
        prompt = _count(usage.get("prompt_tokens"), lambda: prompt_estimate(request))
        completion = _count(usage.get("completion_tokens"), lambda: estimate_tokens(content))
        return replace(
            self._priced(prompt, completion),
            text=self._redact(content),
            finish_reason="length" if finish == "length" else "stop",
            latency=latency,
            # dumped anew: a body may spell a key with JSON escapes, which no search would find
            response=self._redact(json.dumps(body, ensure_ascii=False)),
        )

    def _priced(self, prompt: int, completion: int) -> Reply:
        price = self._config.price
        cost = (prompt * price.input + completion * price.output) / 1e6
        return Reply("", prompt_tokens=prompt, completion_tokens=completion, cost=cost)

    def _redact(self, text: str) -> str:
        """What came from outside, without secrets, and without half characters that no file could hold."""
        text = text.encode(errors="replace").decode()
        escaped = any(mark in text for mark in _ESCAPES)
        for value, shown, spelled in self._secrets:
            if value in text:
                text = text.replace(value, shown)
            if escaped:
                text = spelled.sub(shown, text)
        return text


def api_key(config: OpenAITeacher) -> str:
    """The key from the environment; a keyless endpoint (`base_url` without `api_key_env`) gets a dummy."""
    if config.api_key_env is None:
        if config.base_url is None:
            raise ConfigError(
                "api.openai.com needs a key; set api_key_env to the NAME of the environment variable that "
                "holds it (OPENAI_API_KEY), or base_url for another endpoint",
                key=f"teachers.{config.name}.api_key_env",
            )
        return "none"
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        shown = redact(config.api_key_env)
        raise ConfigError(
            f"the environment variable {shown} is not set; export {shown}=... before you run this",
            key=f"teachers.{config.name}.api_key_env",
        )
    if not key.isascii() or any(character.isspace() or not character.isprintable() for character in key):
        # said without showing it: the HTTP library's own complaint would quote the key
        raise ConfigError(
            f"the value of {redact(config.api_key_env)} holds a blank or a character that no key has; set it anew",
            key=f"teachers.{config.name}.api_key_env",
        )
    return key


def _is_secret(name: str, config: OpenAITeacher) -> bool:
    value = os.environ[name].strip()
    named = any(word in name.upper() for word in ("KEY", "TOKEN", "SECRET", "PASSWORD"))
    return (named and len(value) >= 8) or (name == config.api_key_env and bool(value))


def _spelled(value: str) -> re.Pattern[str]:
    """Finds a secret also where characters of it are escaped as JSON, URLs or HTML do."""
    letters = (
        rf"(?:\\*{re.escape(letter)}|\\+u{ord(letter):04x}|%{ord(letter):02x}|&#(?:0*{ord(letter)}|x0*{ord(letter):x});)"
        for letter in value
    )
    return re.compile("".join(letters), re.IGNORECASE)


def _error_message(text: str) -> tuple[str, str]:
    """(message, code) of an error body, whatever shape the server gave it."""
    try:
        body = json.loads(text)
    except json.JSONDecodeError:
        return " ".join(text.split()) or "empty body", ""
    if isinstance(body, list) and body:  # Gemini's compatible endpoint wraps errors in a list
        body = body[0]
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail") or json.dumps(error)
        return str(message), str(error.get("code") or error.get("type") or "")
    return str(error), ""


def _retry_after(headers: Any) -> float | None:
    """Seconds, from `retry-after-ms`, or `retry-after` as a number or a date."""
    try:
        if headers.get("retry-after-ms"):
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        value = headers.get("retry-after")
        if not value:
            return None
        try:
            return max(0.0, float(value))
        except ValueError:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _count(value: Any, estimate: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1e9 else estimate()
