"""Trained students as ordinary Hugging Face folders: safetensors, tokenizer, model card.

`AutoModelForCausalLM.from_pretrained` opens each of them (adapter folders with peft installed), and so does
`load_student`.
"""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from qrdistill.base.errors import TrainingError
from qrdistill.base.ownership import list_files
from qrdistill.base.store import atomic
from qrdistill.students.adapters import QUANTIZATION_FILE, base_of, dequantized
from qrdistill.students.quiet_transformers import quiet
from qrdistill.students.student import Student


def export_student(student: Student, folder: Path, *, merge: bool = False, card: str = "") -> Path:
    """Writes the student; the folder appears whole or not at all. The student itself is left as it is.

    merge: fold adapters into full-precision weights, for NF4 students onto the dequantized base: what was
        trained against, where the original weights would answer differently. Otherwise adapters are
        written with a reference to their base.
    card: markdown to stand in README.md after the generated part (data, scores, how it was trained).

    Raises BoundaryError where the disk refuses, TrainingError where weights are not finite.
    """
    _check_finite(student)
    adapted = hasattr(student.model, "peft_config")
    with atomic(folder) as temporary, quiet():
        temporary.mkdir(parents=True)
        model = _merged(student) if adapted and merge else student.model
        if adapted and not merge:
            model.save_pretrained(temporary)
            if student.config.quantize:
                facts = {"quantize": student.config.quantize}
                (temporary / QUANTIZATION_FILE).write_text(json.dumps(facts) + "\n", encoding="utf-8")
        else:
            _save_full(student, model, temporary)
        student.tokenizer.save_pretrained(temporary)
        text = model_card(student, merged=merge or not adapted, more=card)
        (temporary / "README.md").write_text(text, encoding="utf-8")
        list_files(temporary)
        for file in temporary.rglob("*"):
            if file.is_file():  # safetensors writes files that nobody else may read: like the folder, as umask has it
                file.chmod(temporary.stat().st_mode & 0o666)
    return folder


def _check_finite(student: Student) -> None:
    for name, parameter in student.model.named_parameters():
        if parameter.is_floating_point() and not bool(torch.isfinite(parameter).all()):
            raise TrainingError(
                f"student {student.name}: weights of {name} are not finite, so it was not exported; resume "
                "from an earlier checkpoint with a lower learning rate"
            )


def _save_full(student: Student, model: Any, folder: Path) -> None:
    """Generation stops where training ended its responses; sampling presets of the base stay behind."""
    from transformers import GenerationConfig

    before = getattr(model, "generation_config", None)
    model.generation_config = GenerationConfig(
        bos_token_id=student.tokenizer.bos_token_id,
        eos_token_id=sorted(student.codec.stop_ids),
        pad_token_id=student.tokenizer.pad_token_id,
    )
    try:
        model.save_pretrained(folder)
    finally:
        model.generation_config = before


def _merged(student: Student) -> Any:
    """A copy of the model with its adapters folded in, in full precision."""
    if not student.config.quantize:
        return copy.deepcopy(student.model).merge_and_unload()
    from peft import PeftModel

    with tempfile.TemporaryDirectory() as adapters:
        student.model.save_pretrained(adapters)
        return PeftModel.from_pretrained(dequantized(student.core, base_name(student)), adapters).merge_and_unload()


def base_name(student: Student) -> str:
    """The folder or hub id whose weights the student started from."""
    adapted = Path(student.source, "adapter_config.json").is_file()
    return base_of(student.source) if adapted else student.source


def model_card(student: Student, *, merged: bool, more: str = "") -> str:
    """README.md of an exported student: front matter for the hub, what it is, how to ask it."""
    base = base_name(student)
    local = Path(base).is_dir()
    shown = Path(base).name if local else base
    licence = getattr(student.core.config, "license", None)
    head = ["---", "library_name: " + ("transformers" if merged else "peft"), "pipeline_tag: text-generation"]
    head += [] if local else [f"base_model: {base}"]
    head += [f"license: {licence}"] if licence else []
    head += ["tags:", "- distillation", "- reasoning", "---"]
    kind = "full weights" if merged else "adapters; they need the base model beside them"
    template = (
        "Send the question (and the hint) as the user's message of the chat template."
        if student.codec.has_template
        else "No chat template: send the question, a newline, the hint and a newline as they are."
    )
    note = f"Licence: {licence}." if licence else "The base model's licence applies to these weights too."
    body = f"""
# {student.name}

A small language model that learnt to reason from a larger one's filtered, routed reasoning paths
(QR-Distill, arXiv 2508.16861), trained with qrdistill.

- Base model: `{shown}` ({student.core.config.model_type}); this folder holds {kind}.
- {note}

## How to ask it

Give the question, then on a line of its own a hint of how to reason, such as `Think step by step.`, or
no hint to let it choose. {template} The answer stands in the last line of what it writes.
"""
    return "\n".join(head) + "\n" + body + (f"\n{more.strip()}\n" if more.strip() else "")
