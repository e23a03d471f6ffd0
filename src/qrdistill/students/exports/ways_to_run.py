"""What stands in an exported folder so that others can run it: commands for its README, and Ollama's Modelfile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qrdistill.base.chat_template import MARK, render
from qrdistill.base.errors import QRDistillError

_LONGEST = 8192  # tokens of context that are asked for: more costs memory, and no path is that long
_SYSTEM = "qrdistill asks: in which role?"  # stands for a system message when a template is asked what it makes of one


def how_to_run(name: str, *, base: str | None, gguf: str | None, context: int | None) -> str:
    """Markdown: how servers and programs are given the folder. base: an adapter's base model; gguf: the file's name."""
    length = f" --max-model-len {min(context, _LONGEST)}" if context else ""
    what = f". --served-model-name {name}" if base is None else f"{base} --enable-lora --lora-modules {name}=."
    ways = {"[vLLM](https://docs.vllm.ai)": f"vllm serve {what}{length}"}
    if base is None:
        ways["transformers"] = "transformers serve ."
        ways["Ollama (`Modelfile` says how it is asked and where it stops)"] = (
            f"ollama create {name} -f Modelfile && ollama run {name}"
        )
    if gguf is not None:
        ways["llama.cpp"] = f"llama-server -m {gguf} --jinja --repeat-penalty 1.0"
    blocks = [f"{way}:\n\n```\n{command}\n```" for way, command in ways.items()]
    return "\n\n".join(["## How to run it", "In this folder, by one of these:", *blocks])


def modelfile(tokenizer: Any, *, source: str, stop_ids: Sequence[int], context: int | None) -> str:
    """Ollama's Modelfile.

    source: the GGUF file beside it, or `.`. The template is what the tokenizer's own makes of one question (and a
    system message, where it takes one). Ollama's defaults (temperature 0.8, a penalty on repetition) would make a
    reasoner worse: they are set off.
    """
    lines = ["# ollama create NAME -f Modelfile", f"FROM {source}"]
    lines += [f'TEMPLATE """{_template(tokenizer)}"""']
    stops = [str(tokenizer.convert_ids_to_tokens(id)) for id in sorted(stop_ids)]
    lines += [f'PARAMETER stop "{stop}"' for stop in stops if '"' not in stop and "\n" not in stop]
    lines += ["PARAMETER temperature 0", "PARAMETER repeat_penalty 1"]
    lines += [f"PARAMETER num_ctx {min(context, _LONGEST)}"] if context else []
    return "\n".join(lines) + "\n"


def _template(tokenizer: Any) -> str:
    """In Go's notation: `{{ .System }}`, `{{ .Prompt }}`, `{{ .Response }}`."""
    before, opening, closing = _around(tokenizer, [])
    # the beginning-of-sequence token is added by the runtime
    bos = str(tokenizer.bos_token or "")
    plain = before.removeprefix(bos)
    turn = "{{ .Prompt }}" + _go(opening) + "{{ .Response }}" + _go(closing)
    try:
        told, _, _ = _around(tokenizer, [{"role": "system", "content": _SYSTEM}])
    except QRDistillError:
        raise
    except Exception:  # the user's jinja: many templates refuse a system message
        told = ""
    if _SYSTEM not in told:
        return _go(plain) + turn
    first, _, rest = told.removeprefix(bos).partition(_SYSTEM)
    system = _go(first) + "{{ .System }}" + _go(rest)
    return "{{ if .System }}" + system + "{{ else }}" + _go(plain) + "{{ end }}" + turn


def _around(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[str, str, str]:
    """What stands before a question, between it and the answer, and after the answer."""
    who = "the exported student"
    asked = [*messages, {"role": "user", "content": MARK}]
    text = render(tokenizer, asked, who=who, add_generation_prompt=True)
    before, _, opening = text.partition(MARK)
    answered = render(tokenizer, [*asked, {"role": "assistant", "content": _SYSTEM[::-1]}], who=who)
    closing = answered.partition(_SYSTEM[::-1])[2]
    return before, opening, closing


def _go(text: str) -> str:
    """Text in a Go template: braces that it would read are written as strings."""
    return text.replace("{{", '{{ "{{" }}').replace('"""', '{{ "\\"\\"\\"" }}')
