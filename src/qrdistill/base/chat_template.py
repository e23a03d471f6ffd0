"""Chat templates: programs (Jinja) that come with a model folder, rendered within bounds.

transformers' sandbox keeps a template from Python's insides, not from looping for hours or filling the memory. So
each template is first tried in a forked process that the kernel ends in time; only one that passed is rendered here.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import time
import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from qrdistill.base.errors import ModelError

CPU_SECONDS = 2
WALL_SECONDS = 30.0  # generous, so that a busy machine changes no outcome
MEMORY_BYTES = 256 << 20  # beyond what the process has
MOST_ADDED = 1 << 16  # characters that a template may write around the messages
_RAISED, _NO_MEMORY, _TOO_LONG = 1, 3, 4
FROZEN_DATE = datetime(2025, 1, 1)  # what every template that asks for the date is told
# stands for a message when a template is asked what it makes of one: lines, signs and both cases
MARK = "qrdistill asks: 12 + 7 = ?\nIs it Odd; or (even)? qrdistill"
_passed: set[tuple[str, bool, int]] = set()
_DATE = re.compile(r"""strftime_now\s*\(\s*(?:"([^"\\{}]*)"|'([^'\\{}]*)')\s*\)""")


def render(tokenizer: Any, messages: Sequence[dict[str, str]], *, who: str, add_generation_prompt: bool = False) -> str:
    """The messages as the tokenizer's chat template writes them.

    who: `student ada`, for the message. Raises ModelError where the template takes too long, too much memory or
    writes too much, and whatever the template itself raises.
    """
    key = (str(tokenizer.chat_template), add_generation_prompt, len(messages))
    if key not in _passed:
        _try(tokenizer, messages, who, add_generation_prompt)
    text = _render(tokenizer, messages, add_generation_prompt)
    if _too_long(text, messages):
        raise _refused(who, f"writes more than {MOST_ADDED} characters around a message")
    _passed.add(key)
    return text


def freeze_date(tokenizer: Any) -> bool:
    """Writes a fixed date into a template that asks for today's; whether it did.

    A prompt that changes overnight is not the one that was trained on, and no reply to it is ever found again.
    """
    templates = tokenizer.chat_template
    if isinstance(templates, dict):
        frozen: Any = {name: _frozen(text) for name, text in templates.items()}
    else:
        frozen = _frozen(templates) if templates else templates
    tokenizer.chat_template = frozen
    return frozen != templates


def _frozen(template: str) -> str:
    return _DATE.sub(lambda call: repr(FROZEN_DATE.strftime(call[1] or call[2] or "")), template)


def check_template(tokenizer: Any, *, who: str) -> None:
    """Raises ModelError where the template loses what a user says, or does not always write the same.

    A template that raises for a lone user message is left to the one that asks it.
    """
    message = [{"role": "user", "content": MARK}]
    try:
        text = render(tokenizer, message, who=who, add_generation_prompt=True)
        again = _render(tokenizer, message, True)
    except ModelError:
        raise
    except Exception:  # the user's jinja: anything may be raised
        return
    if MARK not in text:
        raise _refused(who, "does not repeat a user's message as it was written, so questions would be lost")
    try:
        without_clock = _render(tokenizer, message, True, strftime_now="no clock")
    except Exception:  # what asks a text for the date finds that it cannot be called
        without_clock = None
    if not text == again == without_clock:
        raise _refused(who, "writes another text each time (the clock or chance decides)")


def _render(tokenizer: Any, messages: Sequence[dict[str, str]], add_generation_prompt: bool, **known: Any) -> str:
    return tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=add_generation_prompt, **known
    )


def _too_long(text: str, messages: Sequence[dict[str, str]]) -> bool:
    # a template may write a message twice
    return len(text) > MOST_ADDED + 2 * sum(len(message["content"]) for message in messages)


def _refused(who: str, why: str) -> ModelError:
    return ModelError(f"{who}: its chat template {why}; mend or remove chat_template in the model folder")


def _try(tokenizer: Any, messages: Sequence[dict[str, str]], who: str, add_generation_prompt: bool) -> None:
    """Renders in a forked process. Raises ModelError where that was stopped."""
    with warnings.catch_warnings():  # other threads are of no concern: the child renders and ends
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _child(tokenizer, messages, add_generation_prompt)
    status = _wait(child)
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        raise _refused(who, f"does not come to an end (stopped after {CPU_SECONDS} s of processor time)")
    if status == _TOO_LONG:
        raise _refused(who, f"writes more than {MOST_ADDED} characters around a message")
    if status not in (0, _RAISED):
        raise _refused(who, f"takes more than {MEMORY_BYTES >> 20} MiB of memory")


def _child(tokenizer: Any, messages: Sequence[dict[str, str]], add_generation_prompt: bool) -> None:
    status = _NO_MEMORY
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_AS, (limit := _address_space() + MEMORY_BYTES, limit))
        text = _render(tokenizer, messages, add_generation_prompt)
        status = _TOO_LONG if _too_long(text, messages) else 0
    except MemoryError:
        pass
    except BaseException:
        status = _RAISED  # the parent meets it too, and says it
    finally:
        os._exit(status)


def _address_space() -> int:
    """Bytes that this process has mapped; without /proc a terabyte, which is no limit that matters."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 1 << 40


def _wait(child: int) -> int:
    """The child's exit status, negative where a signal ended it."""
    deadline, pause = time.monotonic() + WALL_SECONDS, 0.001
    done = status = 0
    try:
        while not done and time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if not done:
                time.sleep(pause)
                pause = min(0.05, 2 * pause)
    finally:  # Ctrl-C comes through here too
        if not done:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
