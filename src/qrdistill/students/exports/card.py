"""README.md of an exported student: front matter for the hub, what it is, how to ask it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qrdistill.students.student import Student


@dataclass(frozen=True)
class Card:
    """What a run knows of a student. base: folder, hub id or `scheme:name` that it started from.

    data: front matter beyond the model's own, as huggingface_hub's ModelCardData takes it. text: markdown that
    follows the generated part.
    """

    base: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    text: str = ""


def shown_base(base: str) -> tuple[str, bool]:
    """The base as a card names it, and whether that is a hub id."""
    folder = Path(base)
    if ":" not in base and not folder.is_dir() and base.count("/") == 1 and not base.startswith((".", "/", "~")):
        return base, True
    return (folder.name if folder.is_dir() else base), False


def model_card(student: Student, base: str, card: Card, *, merged: bool, ways: str = "") -> str:
    """The whole README. ways: markdown, how servers are given the folder."""
    from huggingface_hub import ModelCard, ModelCardData

    name, on_the_hub = shown_base(card.base or base)
    licence = card.data.get("license") or getattr(student.core.config, "license", None)
    facts: dict[str, Any] = {
        "model_name": student.name,
        "library_name": "transformers" if merged else "peft",
        "pipeline_tag": "text-generation",
        "base_model": name if on_the_hub else None,
        "base_model_relation": ("finetune" if merged else "adapter") if on_the_hub else None,
        "tags": ["distillation", "reasoning", "qrdistill"],
        **card.data,
        "license": licence,
    }
    data = ModelCardData(**facts)
    kind = "full weights" if merged else "adapters; they need the base model beside them"
    note = f"Licence: {licence}." if licence else "The base model's licence applies to these weights too."
    template = (
        "Send the question (and the hint) as the user's message of the chat template."
        if student.codec.has_template
        else "The chat template writes the question (and the hint) as it is, a newline after it: so it was trained."
    )
    body = f"""
# {student.name}

A small language model that learnt to reason from a larger one's filtered, routed reasoning paths
(QR-Distill, arXiv 2508.16861), trained with qrdistill.

- Base model: `{name}` ({student.core.config.model_type}); this folder holds {kind}.
- {note}

## How to ask it

Give the question, then on a line of its own a hint of how to reason, such as `Think step by step.`, or
no hint to let it choose. {template} The answer stands in the last line of what it writes.

{ways}
{card.text.strip()}
"""
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n{body.rstrip()}\n"))
