"""Why a reply ended: one table of the words that servers use, and what each of them means for us.

Records keep `stop` for a complete reply, `length` for a cut one, and the server's own word for every other end;
`ending` reads any of them. A word that is not in the table is no complete reply, whatever its text looks like.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from qrdistill.base.untrusted.clean_text import one_line

Ending = Literal["complete", "cut", "refused", "transient", "unknown"]
STOP, LENGTH, NONE = "stop", "length", "none"

_WORDS: dict[Ending, str] = {
    # OpenAI and most others; Anthropic; Cohere; TGI and Together; llama.cpp's own; OpenAI's responses
    "complete": "stop end_turn stop_sequence complete completed eos eos_token end stop_token",
    # OpenAI; Gemini, Anthropic, Cohere; Mistral; z.ai and Anthropic; responses; llama.cpp's own
    "cut": "length max_tokens model_length model_context_window_exceeded max_output_tokens max_completion_tokens "
    "incomplete limit token_limit error_limit context_length_exceeded repetition pause_turn",
    # OpenAI, Mistral, DeepSeek; Anthropic; z.ai; Bedrock; Cohere; Gemini; and a tool called instead of an answer
    "refused": "content_filter content_filtered refusal sensitive guardrail_intervened error_toxic blocked safety "
    "recitation blocklist prohibited_content spii language model_armor image_safety image_prohibited_content "
    "image_recitation image_other no_image tool_calls tool_call tool_use function_call malformed_function_call "
    "unexpected_tool_call too_many_tool_calls missing_thought_signature",
    # z.ai; DeepSeek; OpenRouter and Mistral; vLLM and SGLang; Cohere; Ollama, which had only (un)loaded the model
    "transient": "network_error insufficient_system_resource error failed abort aborted cancelled canceled "
    "user_cancel timeout rate_limit_exceeded resource_exhausted server_error malformed_response load unload",
}
_TABLE: dict[str, Ending] = {word: ending for ending, words in _WORDS.items() for word in words.split()}
_PREFIX = re.compile(r"^(?:finish_?reason[._]|finish_reason_)", re.IGNORECASE)
_SHOWN = 40  # characters of an unknown word that are kept


@lru_cache(maxsize=256)
def ending(word: str) -> Ending:
    """What a finish reason means.

    >>> [ending(word) for word in ("STOP", "MAX_TOKENS", "SAFETY", "network_error", "zzz", "")]
    ['complete', 'cut', 'refused', 'transient', 'unknown', 'unknown']
    """
    plain = _PREFIX.sub("", word.strip()).casefold().replace("-", "_").replace(" ", "_")
    return _TABLE.get(plain, "unknown")


def recorded(given: object) -> str:
    """The word that records keep of what a server or a file gave as finish reason; `none` where it gave none.

    >>> recorded("MAX_TOKENS"), recorded("SAFETY"), recorded(None), recorded("odd")
    ('length', 'safety', 'none', 'odd')
    """
    word = one_line(str(given), _SHOWN).strip() if isinstance(given, str | int | float) else ""
    if word.casefold() in ("", "null", "none"):
        return NONE
    meaning = ending(word)
    if meaning == "unknown":
        return word
    return {"complete": STOP, "cut": LENGTH}.get(meaning) or _PREFIX.sub("", word).casefold()


def ended_by_itself(word: str) -> bool:
    """Whether more tokens would have changed nothing: it came to its end, or was refused."""
    return ending(word) in ("complete", "refused")
