"""What a chat completion's body says: text, thought, finish reason and token counts, whatever a server calls them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
_BLOCKED = ("prompt_feedback", "promptFeedback")  # Gemini: the question itself was blocked
_MOST = 1_000_000_000  # tokens; beyond, a count makes no sense


@dataclass(frozen=True)
class Said:
    """The first choice of a body. finish: the reason as it came. refusal: the server's words where it refused.

    hidden: whether it thought without showing it. error: an error in the choice's place, as the server gave it.
    """

    text: str = ""
    thought: str = ""
    finish: Any = None
    refusal: str = ""
    hidden: bool = False
    error: Any = None
    problem: str = ""  # why there is no message to read


def said(body: dict[str, Any]) -> Said:
    """Reads the first choice; never raises."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        if body.get("error"):
            return Said(error=body["error"])
        blocked = next((_blocked(body[name]) for name in _BLOCKED if isinstance(body.get(name), dict)), "")
        return (
            Said(finish="prohibited_content", refusal=blocked) if blocked else Said(problem="the reply has no choices")
        )
    finish = choice.get("finish_reason") or choice.get("native_finish_reason")
    if choice.get("error"):
        return Said(finish=finish, error=choice["error"])
    message = choice.get("message")
    if not isinstance(message, dict):
        return Said(finish=finish, problem="the reply has no message")
    parts = message.get("content")
    details = message.get("reasoning_details")
    thoughts = [_words(message.get(name)) for name in _THOUGHT_FIELDS]
    thoughts += [_joined(details, ("text", "summary")), _joined(parts, ("thinking", "reasoning"))]
    refusal = message.get("refusal")
    return Said(
        text=_joined(parts, ("text",)) if isinstance(parts, list) else _words(parts),
        thought=next((thought for thought in thoughts if thought.strip()), ""),
        finish=finish,
        refusal=refusal if isinstance(refusal, str) and refusal.strip() else "",
        hidden=bool(details) or reasoning_tokens(body.get("usage")) > 0,
    )


def _blocked(feedback: dict[str, Any]) -> str:
    reason = feedback.get("block_reason") or feedback.get("blockReason")
    return f"the prompt was blocked: {reason}" if reason else ""


def _words(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _joined(parts: Any, fields: tuple[str, ...]) -> str:
    """The texts under `fields` of a list of parts; a part may hold a list of parts itself."""
    texts: list[str] = []
    for part in parts if isinstance(parts, list) else ():
        for name in fields if isinstance(part, dict) else ():
            value = part.get(name)
            texts.append(_joined(value, ("text",)) if isinstance(value, list) else _words(value))
    return "".join(texts)


def counts(usage: Any) -> tuple[int | None, int | None]:
    """(prompt, completion) tokens as the server counted them, None where it gave none that make sense.

    Some servers leave the thought's tokens out of the completion's, and charge for them: the total tells.

    >>> counts({"prompt_tokens": 21, "completion_tokens": "4", "total_tokens": 81})
    (21, 60)
    """
    if not isinstance(usage, dict):
        return None, None
    prompt, stated = (_first(usage, *names) for names in (("prompt_tokens", "input_tokens"), _COMPLETION))
    total, thought = _count(usage.get("total_tokens")), reasoning_tokens(usage)
    found = [count for count in (stated,) if count is not None]
    if total is not None and prompt is not None and total >= prompt:
        found.append(total - prompt)
    if thought > (stated or 0):  # it cannot be a part of what is less
        found.append(thought + (stated or 0))
    if prompt is None and total is not None and stated is not None and total >= stated:
        prompt = total - stated
    return prompt, max(found) if found else None


_COMPLETION = ("completion_tokens", "output_tokens")


def reasoning_tokens(usage: Any) -> int:
    """Tokens of thought that the server counted."""
    if not isinstance(usage, dict):
        return 0
    details = next(
        (usage[f"{name}_details"] for name in _COMPLETION if isinstance(usage.get(f"{name}_details"), dict)), usage
    )
    return _count(details.get("reasoning_tokens")) or 0


def _first(usage: dict[str, Any], *names: str) -> int | None:
    return next((count for name in names if (count := _count(usage.get(name))) is not None), None)


def _count(value: Any) -> int | None:
    """A number of tokens, also where it came as text."""
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,9}(?:\.0*)?\s*", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MOST:
        return None
    return int(value)
