"""Low-rank adapters and four-bit weights, by peft and bitsandbytes (extras `lora` and `qlora`).

Students that leave a base's weights as they are (adapters on it, or frozen) share one copy of them. Each keeps modules
of its own (its adapters, its mode, its attention, its hooks); only the tensors of the base are the same objects. So
nothing has to be switched from student to student, and whatever is done with one student's model (a checkpoint, an
export, a merge, which copies first) is what it would be with a base of its own.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import torch

from qrdistill.base.errors import InputError, ModelError
from qrdistill.base.untrusted.guarded_json import read_json
from qrdistill.students.config import StudentConfig

QUANTIZATION_FILE = "quantization.json"  # beside exported adapters: how their base was quantized


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise InputError("adapters need peft; install it: pip install 'qrdistill[lora]'") from error
    return peft


def quantization(config: StudentConfig, device: torch.device) -> dict[str, Any]:
    """What from_pretrained needs to load NF4 weights; nothing for unquantized students."""
    if config.quantize is None:
        return {}
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError("quantize: nf4 needs bitsandbytes; install it: pip install 'qrdistill[qlora]'")
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if device.type == "cuda" else torch.float32,
    )
    return {"quantization_config": settings, "device_map": {"": device}}


def keep_differentiable(model: Any) -> None:
    """Keeps bitsandbytes from repacking four-bit weights for CPU inference.

    It does so at the first evaluation, for good, in a layout whose product has no gradient: training
    after it would go on without a word and learn nothing below the last adapter.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def quantize_in_place(model: Any, device: torch.device) -> Any:
    """A model with weights, its layers' matrices put into four bits as `quantization` asks of a loaded one."""
    import bitsandbytes

    head = model.get_output_embeddings()
    compute = torch.bfloat16 if device.type == "cuda" else torch.float32
    for parent in list(model.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, torch.nn.Linear) and module is not head:
                small = bitsandbytes.nn.Linear4bit(
                    module.in_features,
                    module.out_features,
                    getattr(module, "bias", None) is not None,
                    compute_dtype=compute,
                    quant_type="nf4",
                    compress_statistics=True,
                )
                small.load_state_dict(module.state_dict())
                setattr(parent, name, small.to(device))
    keep_differentiable(model)
    return model


def add_lora(model: Any, config: StudentConfig) -> Any:
    """Wraps the model so that only low-rank updates train (in float32), drawn from torch's RNG.

    Raises ModelError where the targets name no module of this model.
    """
    peft = _peft()
    lora = config.lora
    assert lora is not None
    settings = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        task_type="CAUSAL_LM",
    )
    if not isinstance(lora.targets, str):
        linear = {path.rpartition(".")[2] for path, module in model.named_modules() if hasattr(module, "in_features")}
        unknown = [target for target in lora.targets if target not in linear]
        if unknown:
            raise ModelError(
                f"student {config.name}: lora.targets names {', '.join(unknown)}, which this model lacks; "
                f"it has {', '.join(sorted(linear))}"
            )
    model.requires_grad_(False)
    return peft.get_peft_model(model, settings, autocast_adapter_dtype=True)


def base_of(folder: str) -> str:
    """The base model that an adapter folder refers to: a hub id, or a folder (absolute; it may be written relative to
    the adapter's, or as peft writes it to where it was trained)."""
    settings = read_json(Path(folder, "adapter_config.json"))
    base = str(settings.get("base_model_name_or_path") or "")
    places = [place for place in (Path(folder, base), Path(base)) if base and place.is_dir()]
    return str(places[0].resolve()) if places else base


def load_adapter(model: Any, folder: str, config: StudentConfig) -> Any:
    """The adapters that `export_student` (or peft) wrote, ready to train on unless the student is frozen."""
    adapted = _peft().PeftModel.from_pretrained(model, folder, is_trainable=not config.frozen)
    for settings in adapted.peft_config.values():  # a relative folder would lead nowhere from the next export's place
        settings.base_model_name_or_path = base_of(folder)
    return adapted


def dequantized(core: Any, base: str) -> Any:
    """The base model in float32 with the values that its four-bit weights stand for, on the CPU."""
    from bitsandbytes.functional import dequantize_4bit
    from transformers import AutoModelForCausalLM

    full: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    plain = dict(full.named_modules())
    for path, module in core.named_modules():
        weight: Any = getattr(module, "weight", None)
        if hasattr(weight, "quant_state"):
            target = plain[path.removesuffix(".base_layer")]
            with torch.no_grad():
                target.weight.copy_(dequantize_4bit(weight.data, weight.quant_state).float().cpu())
    return full


def remembered_quantization(folder: str, config: StudentConfig) -> StudentConfig:
    """The config, quantized as exported adapters were trained where it does not say itself."""
    file = Path(folder, QUANTIZATION_FILE)
    if config.quantize is not None or not file.is_file():
        return config
    return config.model_copy(update=read_json(file))


class Bases:
    """The bases that were loaded for these students; weights stay as long as a student, or this, holds them."""

    def __init__(self) -> None:
        self._loaded: dict[Hashable, Any] = {}

    def twin(self, key: Hashable, load: Callable[[], Any]) -> tuple[Any, Any]:
        """A model with the weights of the base `key`, which is loaded once, and this base itself.

        The tensors of both are not to be written to."""
        if key not in self._loaded:
            self._loaded[key] = load()
        return _twin(self._loaded[key]), self._loaded[key]


def _twin(model: Any) -> Any:
    """Other modules, the same parameters; what bitsandbytes keeps beside four-bit weights included."""
    same: list[Any] = list(model.parameters())
    same += [state for module in model.modules() if (state := getattr(module, "quant_state", None)) is not None]
    return copy.deepcopy(model, {id(one): one for one in same})
