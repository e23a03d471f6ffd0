"""What can be known of a student before anything is bought for it: does it load, and what room does it take?"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrdistill.base.errors import InputError, ModelError
from qrdistill.students.config import StudentConfig
from qrdistill.students.find_model import comes_with_the_package, find_model

_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Look:
    """A student without its weights. parameters: of the model; trained: of those (or of its adapters)."""

    student: StudentConfig
    parameters: int
    trained: int


def check_students(students: Sequence[StudentConfig], base_dir: Path, *, hub: bool = True) -> list[Look]:
    """Raises ModelError now where `load_student` would raise it after the paths have been paid for.

    Reads config and tokenizer, from the hub too, but no weights. Students that come with the package are known to
    load and are not looked at. hub: False: leave hub ids alone, because nothing will be trained.
    """
    looks: list[Look] = []
    for student in students:
        _check_extras(student)
        if comes_with_the_package(student.model):
            continue  # spares the import of torch
        source = find_model(student.model, base_dir)
        if Path(source).is_dir() or hub:
            looks.append(_look(student, source))
    return looks


def on_the_hub(student: StudentConfig, base_dir: Path) -> bool:
    return not comes_with_the_package(student.model) and not Path(find_model(student.model, base_dir)).is_dir()


def _check_extras(student: StudentConfig) -> None:
    needs = {"lora": ("peft", "lora"), "quantize": ("bitsandbytes", "qlora")}
    for key, (package, extra) in needs.items():
        if getattr(student, key) is not None and importlib.util.find_spec(package) is None:
            raise InputError(
                f"student {student.name}: {key} needs {package}; install it: pip install 'qrdistill[{extra}]'"
            )


def _look(student: StudentConfig, source: str) -> Look:
    from transformers import AutoTokenizer

    from qrdistill.students.adapters import base_of
    from qrdistill.students.quiet_transformers import quiet
    from qrdistill.students.tokens import Codec

    folder = Path(source)
    local = folder.is_dir()
    if local and not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise ModelError(
            f"student {student.name}: folder {source} has no config.json; a Hugging Face model folder holds "
            "config.json, safetensors weights and a tokenizer"
        )
    try:
        with quiet():
            tokenizer: Any = AutoTokenizer.from_pretrained(source, trust_remote_code=student.trust_remote_code)
    except Exception as error:  # dozens of types, all mean "does not load"
        if not local:
            raise _not_from_the_hub(student, source, error) from error
        raise ModelError(
            f"student {student.name}: the tokenizer of folder {source} does not load ({_first_line(error)}); "
            "save it there with tokenizer.save_pretrained"
        ) from error
    Codec(tokenizer, name=student.name)
    adapted = (folder / "adapter_config.json").is_file()
    base = base_of(source) if adapted else source
    model = _empty_model(student, base)
    if model is None:
        return Look(student, 0, 0)
    rows = int(model.get_input_embeddings().weight.shape[0])
    if len(tokenizer) > rows:
        raise ModelError(
            f"student {student.name}: the tokenizer in {source} knows {len(tokenizer)} tokens, the model only {rows}; "
            "they do not belong together"
        )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if student.frozen:
        return Look(student, parameters, 0)
    return Look(student, parameters, _adapter_size(student, model) if student.lora is not None else parameters)


def _empty_model(student: StudentConfig, source: str) -> Any:
    """The model by its config, without weights; None where its code is its owner's, which is not run for a look."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from qrdistill.students.quiet_transformers import quiet

    if student.trust_remote_code:
        return None
    try:
        with quiet(), torch.device("meta"):
            return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source))
    except Exception as error:
        if not Path(source).is_dir():
            raise _not_from_the_hub(student, source, error) from error
        raise ModelError(
            f"student {student.name}: folder {source} does not load: {_first_line(error)}; it must hold config.json, "
            "safetensors weights and a tokenizer"
        ) from error


def _adapter_size(student: StudentConfig, model: Any) -> int:
    assert student.lora is not None
    targets = student.lora.targets
    return sum(
        student.lora.rank * (module.in_features + module.out_features)
        for path, module in model.named_modules()
        if hasattr(module, "in_features")
        and (path.rpartition(".")[2] in targets if targets != "all-linear" else "lm_head" not in path)
    )


def _first_line(error: BaseException) -> str:
    text = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return text.strip(" :")[:300]


def _not_from_the_hub(student: StudentConfig, source: str, error: BaseException) -> ModelError:
    """One message with the mend: transformers' own names neither the student nor what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    kinds = tuple(type(link) for link in chain)
    who = f"student {student.name}: "
    if any(issubclass(kind, GatedRepoError) for kind in kinds) or "gated repo" in str(error):
        return ModelError(
            f"{who}{source} is gated: ask for access at {_HUB}/{source} with your account, then set HF_TOKEN to a token "
            "of it (or: hf auth login)"
        )
    if any(issubclass(kind, RepositoryNotFoundError) for kind in kinds):
        return ModelError(
            f"{who}the hub has no model {source}, or a private one; check the spelling ({_HUB}/{source}), or set HF_TOKEN"
        )
    if any(issubclass(kind, OfflineModeIsEnabled | LocalEntryNotFoundError) for kind in kinds):
        return ModelError(
            f"{who}{source} is not in the cache, and the hub is out of reach; check your connection (and "
            f"HF_HUB_OFFLINE), fetch it with: hf download {source}, or give a local folder"
        )
    return ModelError(
        f"{who}hub id {source} does not load: {_first_line(error)}; check the spelling and your connection, or give a "
        "local folder"
    )
