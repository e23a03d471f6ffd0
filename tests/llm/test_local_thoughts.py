"""A local model whose chat template opens a thought: what it writes first is no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from qrdistill.llm.client import Requests
from qrdistill.llm.config import TransformersTeacher
from qrdistill.llm.reply_cache import Reply
from qrdistill.llm.transformers_client import TransformersChat

TEMPLATE = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}<think>\n{% endif %}"


def test_a_thought_that_the_template_opened_and_nothing_closed_is_a_thought(
    tiny_student_folder: Callable[..., Path],
) -> None:
    folder = tiny_student_folder("llama", chat_template=TEMPLATE)
    config = TransformersTeacher(kind="transformers", name="t", model=str(folder), max_tokens=5, device="cpu")
    request = Requests(config, base_dir=Path())([("user", "3 + 4?")])

    async def ask() -> Reply:
        client = TransformersChat(config)
        try:
            return await client.complete(request)
        finally:
            await client.close()

    reply = asyncio.run(ask())
    assert reply.text.startswith("<think>\n")
    assert (reply.parts.answer, reply.parts.ended, reply.finish_reason) == ("", False, "length")
