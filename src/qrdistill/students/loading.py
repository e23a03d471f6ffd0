"""Students from folders, hub ids and `scheme:name` strings; everything that can be wrong with one.

Tensor suffix: B paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from qrdistill.base.chat_template import FROZEN_DATE
from qrdistill.base.device import resolve_autocast, resolve_device
from qrdistill.base.errors import InputError, ModelError, TrainingError
from qrdistill.base.progress import Progress, Silent
from qrdistill.students import attention
from qrdistill.students.adapters import (
    Bases,
    add_lora,
    base_of,
    keep_differentiable,
    load_adapter,
    quantization,
    remembered_quantization,
)
from qrdistill.students.config import StudentConfig
from qrdistill.students.find_model import find_model
from qrdistill.students.out_of_memory import nothing_twice, ran_out
from qrdistill.students.packing.proof import prove
from qrdistill.students.quiet_transformers import quiet
from qrdistill.students.student import Student
from qrdistill.students.tokens import Codec


def _unusable(name: str, source: str, error: BaseException) -> ModelError:
    cause = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    place = "folder" if Path(source).is_dir() else "hub id"
    mend = (
        "it must hold config.json, safetensors weights and a tokenizer"
        if place == "folder"
        else "check the spelling and your connection, or give a local folder"
    )
    return ModelError(f"student {name}: {place} {source} does not load: {cause[:300]}; {mend}")


def _dtype(config: StudentConfig, device: torch.device) -> torch.dtype:
    """Weights that train stay float32 (autocast lowers the compute); frozen ones may be halved on a GPU."""
    if config.dtype != "auto":
        return getattr(torch, config.dtype)
    fixed = config.frozen or config.lora is not None or config.quantize is not None
    return torch.bfloat16 if device.type == "cuda" and fixed else torch.float32


def _load_model(source: str, config: StudentConfig, device: torch.device, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForCausalLM

    settings: Mapping[str, Any] = {
        "dtype": dtype,
        "trust_remote_code": config.trust_remote_code,
        **quantization(config, device),
    }
    with nothing_twice():
        loaded: Any = AutoModelForCausalLM.from_pretrained(source, output_loading_info=True, **settings)
    model, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(
            f"student {config.name}: {source} lacks weights ({len(missing)}, first {missing[0]}), which would "
            "start at random; use a complete causal language model"
        )
    if config.quantize:
        keep_differentiable(model)
        return model
    return model.to(device)


def _base(source: str, config: StudentConfig, device: torch.device, bases: Bases | None) -> tuple[Any, Any]:
    """The model in `source`; with weights of one that was loaded before, and this one, where `bases` are given."""
    dtype = _dtype(config, device)
    if bases is None:
        return _load_model(source, config, device, dtype), None
    key = (source, config.quantize, dtype, device, config.trust_remote_code)
    return bases.twin(key, lambda: _load_model(source, config, device, dtype))


def load_student(
    config: StudentConfig,
    *,
    base_dir: Path,
    device: str = "cpu",
    autocast: Literal["auto", "none", "bfloat16", "float16"] = "none",
    compile: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    bases: Bases | None = None,
) -> Student:
    """Loads model and tokenizer, adds adapters, and proves that packing does not leak between paths.

    config.model may be a folder that `export_student` wrote, with merged weights or as adapters.
    seed: of the adapters' random start. device: `cpu`, `cuda`, `cuda:1`, `auto`. bases: what was loaded for students
    beside this one: where all of them leave the base's weights as they are, there is one copy of these.

    Raises ModelError naming the folder and the cause, InputError where an extra is not installed.
    """
    progress, place = progress or Silent(), resolve_device(device)
    source = find_model(config.model, base_dir)
    adapted = Path(source, "adapter_config.json").is_file()
    if adapted:
        config = remembered_quantization(source, config)
    elif config.quantize and config.lora is None and not config.frozen:
        raise ModelError(
            f"student {config.name}: quantized weights cannot train by themselves; add lora: {{}} or frozen: true"
        )
    name = attention.register(compiled=compile)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            tokenizer = load_tokenizer(source, config)
            base = base_of(source) if adapted else source
            fixed = adapted or config.lora is not None or config.frozen
            model, plain = _base(base, config, place, bases if fixed else None)
            if adapted:
                model = load_adapter(model, source, config)
            elif config.lora is not None and not config.frozen:
                model = add_lora(model, config)
        except InputError:
            raise
        except Exception as error:  # the boundary to transformers: dozens of types, all mean "does not load"
            if ran_out(error):
                raise TrainingError(
                    f"student {config.name}: memory ran out while {source} was loaded; choose a smaller model, give "
                    "the student quantize: nf4 (with lora), or lower its dtype"
                ) from error
            raise _unusable(config.name, source, error) from error
    if config.frozen:
        model.requires_grad_(False)
    model.train(not config.frozen)
    text = model.config.get_text_config()
    codec = Codec(
        tokenizer,
        name=config.name,
        max_context=config.max_context or getattr(text, "max_position_embeddings", None),
        stop_ids=_stop_ids(model, source),
    )
    _tell_of_date(codec, progress)
    _check_vocabulary(tokenizer, model, config.name, source)
    precision = resolve_autocast(autocast, place)
    student = Student(
        config=config, model=model, codec=codec, device=place, source=source, autocast=precision, packed=False
    )
    student.base = plain
    way = prove(student, name)
    if way != "packed":
        batches = "are padded" if way == "padded" else "cannot be padded either and are read one path at a time"
        progress.warn(
            f"student {config.name}: model type {text.model_type!r} cannot be packed; its batches {batches}, "
            "which costs time and changes no result"
        )
    if compile:
        for layer in student.core.get_decoder().layers:
            layer.compile(dynamic=True)
    return student


def recompute_activations(model: Any) -> None:
    """Keeps a layer's input only and computes the rest again in backward."""
    with quiet():
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def load_tokenizer(source: str, config: StudentConfig) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(source, trust_remote_code=config.trust_remote_code)


def _tell_of_date(codec: Codec, progress: Progress) -> None:
    if codec.date_is_frozen:
        progress.warn(
            f"student {codec.name}: its chat template writes today's date; {FROZEN_DATE:%d %B %Y} stands there from "
            "now on, in training, evaluation and the exported student, so that its prompts stay the same"
        )


def _stop_ids(model: Any, source: str) -> list[int]:
    """What ends a completion by the model's generation config, and by that of an adapter folder on top of it."""
    from transformers import GenerationConfig

    configs = [getattr(model, "generation_config", None)]
    if Path(source, "generation_config.json").is_file():
        configs.append(GenerationConfig.from_pretrained(source))
    found: set[int] = set()
    for settings in configs:
        stop = getattr(settings, "eos_token_id", None)
        found |= {stop} if isinstance(stop, int) else set(stop or ())
    return sorted(found)


def _check_vocabulary(tokenizer: Any, model: Any, name: str, source: str) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"student {name}: the tokenizer in {source} knows {len(tokenizer)} tokens, the model only {rows}; "
            "they do not belong together"
        )
