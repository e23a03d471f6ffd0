"""Trained students as ordinary Hugging Face folders: safetensors, tokenizer, model card.

`AutoModelForCausalLM.from_pretrained` opens each of them (adapter folders with peft installed), and so does
`load_student`.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from qrdistill.base.errors import TrainingError
from qrdistill.base.ownership import list_files
from qrdistill.base.store import atomic, write_json
from qrdistill.base.untrusted.guarded_json import read_json
from qrdistill.students.adapters import QUANTIZATION_FILE, base_of, dequantized
from qrdistill.students.exports.card import Card, model_card, shown_base
from qrdistill.students.exports.ways_to_run import how_to_run, modelfile
from qrdistill.students.quiet_transformers import quiet
from qrdistill.students.student import Student
from qrdistill.students.tokens import plain_template

# what slow tokenizers and other runtimes read where transformers reads tokenizer.json
_TOKENIZER_FILES = (
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "added_tokens.json",
    "special_tokens_map.json",
)


def export_student(
    student: Student, folder: Path, *, merge: bool = False, card: Card | None = None, gguf: str | None = None
) -> Path:
    """Writes the student; the folder appears whole or not at all. The student itself is left as it is.

    merge: fold adapters into full-precision weights, for NF4 students onto the dequantized base: what was
        trained against, where the original weights would answer differently. Otherwise adapters are
        written with a reference to their base.
    card: what a run knows of the student, for README.md. gguf: the name of a GGUF file that will join.

    Raises BoundaryError where the disk refuses, TrainingError where weights are not finite.
    """
    _check_finite(student)
    adapted = hasattr(student.model, "peft_config")
    whole = merge or not adapted
    card = card or Card()
    with atomic(folder) as temporary, quiet():
        temporary.mkdir(parents=True)
        model = _merged(student) if adapted and merge else student.model
        if whole:
            _save_full(student, model, temporary)
        else:
            model.save_pretrained(temporary)
            if student.config.quantize:
                facts = {"quantize": student.config.quantize}
                (temporary / QUANTIZATION_FILE).write_text(json.dumps(facts) + "\n", encoding="utf-8")
        _generation_config(student).save_pretrained(temporary)
        _save_tokenizer(student, temporary)
        base, context = base_name(student), student.codec.max_context
        ways = how_to_run(student.name, base=None if whole else shown_base(base)[0], gguf=gguf, context=context)
        text = model_card(student, base, card, merged=whole, ways=ways)
        (temporary / "README.md").write_text(text, encoding="utf-8")
        if whole:
            (temporary / "Modelfile").write_text(_modelfile(student, gguf), encoding="utf-8")
        list_files(temporary)
        _readable(temporary)
    return folder


def _readable(folder: Path) -> None:
    """safetensors writes files that nobody else may read: like the folder, as umask has it."""
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(folder.stat().st_mode & 0o666)


def _modelfile(student: Student, gguf: str | None) -> str:
    with _with_template(student.tokenizer) as tokenizer:
        source = f"./{gguf}" if gguf else "."
        return modelfile(
            tokenizer, source=source, stop_ids=sorted(student.codec.stop_ids), context=student.codec.max_context
        )


@contextmanager
def _with_template(tokenizer: Any) -> Generator[Any, None, None]:
    """The tokenizer with a chat template: its own, or the plain one."""
    own = tokenizer.chat_template
    tokenizer.chat_template = own or plain_template(tokenizer)
    try:
        yield tokenizer
    finally:
        tokenizer.chat_template = own


def _check_finite(student: Student) -> None:
    for name, parameter in student.model.named_parameters():
        if parameter.is_floating_point() and not _is_finite(parameter.detach()):
            raise TrainingError(
                f"student {student.name}: weights of {name} are not finite, so it was not exported; resume "
                "from an earlier checkpoint with a lower learning rate"
            )


def _is_finite(values: torch.Tensor) -> bool:
    """By its extremes, which need no copy of a large embedding; NaN is both where there is any."""
    return not values.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(values))).all())


def _generation_config(student: Student) -> Any:
    """Generation stops where training ended its responses; sampling presets of the base stay behind."""
    from transformers import GenerationConfig

    return GenerationConfig(
        bos_token_id=student.tokenizer.bos_token_id,
        eos_token_id=sorted(student.codec.stop_ids),
        pad_token_id=student.tokenizer.pad_token_id,
    )


def _save_full(student: Student, model: Any, folder: Path) -> None:
    before = getattr(model, "generation_config", None)
    model.generation_config = _generation_config(student)
    try:
        dtype = _source_dtype(student)
        if dtype in (None, model.dtype):
            model.save_pretrained(folder)
        else:
            model.save_pretrained(folder, state_dict=_in_type(model, dtype))
            settings = read_json(folder / "config.json")
            write_json(folder / "config.json", {**settings, "dtype": str(dtype).removeprefix("torch.")})
    finally:
        model.generation_config = before


def _save_tokenizer(student: Student, folder: Path) -> None:
    """The tokenizer, with a chat template in any case, and the base's other files of it (sentencepiece and the like).

    transformers reads tokenizer.json alone; llama.cpp and older tools read what it was made from.
    """
    tokenizer = student.tokenizer
    with _with_template(tokenizer):
        tokenizer.save_pretrained(folder)
    names = {*_TOKENIZER_FILES, *getattr(tokenizer, "vocab_files_names", {}).values()}
    for name in sorted(names - {file.name for file in folder.iterdir()}):
        for source in dict.fromkeys((student.source, base_name(student))):
            if (found := _file_of(source, name)) is not None:
                shutil.copyfile(found, folder / name)
                break


def _file_of(source: str, name: str) -> Path | None:
    """A file of a model's folder or hub id; None where it has none, or the hub is out of reach."""
    if Path(source).is_dir():
        return Path(source, name) if Path(source, name).is_file() else None
    from transformers.utils.hub import cached_file

    silent = ("missing_entries", "connection_errors", "gated_repo")
    found = cached_file(source, name, **{f"_raise_exceptions_for_{case}": False for case in silent})
    return None if found is None else Path(found)


def _source_dtype(student: Student) -> torch.dtype | None:
    """What the base model's own files are in, whatever its weights were loaded as; None where they do not say."""
    from transformers import AutoConfig

    settings = AutoConfig.from_pretrained(base_name(student), trust_remote_code=student.config.trust_remote_code)
    return getattr(settings, "dtype", None)


def _in_type(model: Any, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The model's weights in a type of half the size; tied ones stay one tensor."""
    halved: dict[int, torch.Tensor] = {}
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in halved:
            halved[tensor.data_ptr()] = tensor.to(dtype) if tensor.is_floating_point() else tensor
        weights[name] = halved[tensor.data_ptr()]
    return weights


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
