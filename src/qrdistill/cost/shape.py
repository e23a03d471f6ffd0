"""A student without its weights: exact counts from its config.json, and models of any depth that hold no number."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from qrdistill.base.errors import DataError, ModelError
from qrdistill.base.untrusted.guarded_json import read_json
from qrdistill.students.adapters import add_lora, base_of
from qrdistill.students.attention import register
from qrdistill.students.config import StudentConfig
from qrdistill.students.find_model import find_model
from qrdistill.students.quiet_transformers import quiet

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Shape:
    """A student's form: which model, and what of it trains.

    settings: of the model's config.json, as text. files: the type that its own files are in. tokenizer: bytes of the
    files that are exported beside the weights.
    """

    student: StudentConfig
    settings: str
    files: str = "float32"
    tokenizer: int = 0

    def __hash__(self) -> int:
        return hash((self.settings, self.form))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shape) and (self.settings, self.form) == (other.settings, other.form)

    @property
    def form(self) -> str:
        """What decides its cost beside the model: one text."""
        return self.student.model_dump_json(include={"lora", "quantize", "frozen", "dtype", "optimizer"})

    @property
    def layers(self) -> int:
        return int(self.text_config.num_hidden_layers)

    @property
    def text_config(self) -> Any:
        return self.config().get_text_config()

    def config(self, *, layers: int | None = None, vocabulary: int | None = None) -> Any:
        """transformers' config of it, of so many layers and words where said."""
        from transformers import AutoConfig

        settings: dict[str, Any] = json.loads(self.settings)
        with quiet():
            config: Any = AutoConfig.for_model(**settings)
        text = config.get_text_config()
        whole = int(text.num_hidden_layers)
        if layers is not None:
            for key, value in list(vars(text).items()):
                if isinstance(value, list) and len(value) == whole:  # one entry per layer
                    setattr(text, key, value[:layers])
            text.num_hidden_layers = layers
        if vocabulary is not None:
            text.vocab_size = vocabulary
            for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
                setattr(text, key, None)
        return config

    def model(self, *, layers: int | None = None, vocabulary: int | None = None, device: str = "meta") -> Any:
        """The student as training has it, adapters included; on the meta device it takes no memory."""
        from transformers import AutoModelForCausalLM

        with quiet(), torch.random.fork_rng(devices=[]), torch.device(device):
            made: Any = AutoModelForCausalLM.from_config(
                self.config(layers=layers, vocabulary=vocabulary), attn_implementation=register(), dtype=torch.float32
            )
            made.tie_weights()
            if self.student.frozen:
                made.requires_grad_(False)
            elif self.student.lora is not None:
                made = add_lora(made, self.student)
        return made

    @property
    def counts(self) -> Counts:
        return _counts(self)


@dataclass(frozen=True)
class Counts:
    """Weights by what becomes of them.

    parameters: of the model without adapters, tied ones once. trained: with a gradient; tensors: in how many pieces.
    linear: those that NF4 quantizes, in so many matrices, the largest of `largest`. embedding: rows x width.
    per_layer: of one layer.
    """

    parameters: int
    trained: int
    tensors: int
    linear: int
    matrices: int
    largest: int
    embedding: int
    rows: int
    per_layer: int


@lru_cache(maxsize=64)
def _counts(shape: Shape) -> Counts:
    core = with_form(shape, lora=None, frozen=False).model()
    head, layer = core.get_output_embeddings(), core.get_decoder().layers[0]
    embedding = core.get_input_embeddings().weight
    weights = list(core.parameters())
    matrices = [
        module.weight.numel() for module in core.modules() if isinstance(module, torch.nn.Linear) and module is not head
    ]
    trained, tensors = (0, 0) if shape.student.frozen else (sum(each.numel() for each in weights), len(weights))
    if shape.student.lora is not None and not shape.student.frozen:
        trained, tensors = _adapters(shape)
    return Counts(
        parameters=sum(weight.numel() for weight in weights),
        trained=trained,
        tensors=tensors,
        linear=sum(matrices),
        matrices=len(matrices),
        largest=max(matrices, default=0),
        embedding=embedding.numel(),
        rows=int(embedding.shape[0]),
        per_layer=sum(weight.numel() for weight in layer.parameters()),
    )


def _adapters(shape: Shape) -> tuple[int, int]:
    """Numbers and tensors of the adapters: those of one layer and two tell of all."""
    sizes: list[list[int]] = []
    for depth in (1, 2):
        model = shape.model(layers=depth)
        sizes.append([weight.numel() for weight in model.parameters() if weight.requires_grad])
    (one, two), more = sizes, shape.layers - 1
    return sum(one) + more * (sum(two) - sum(one)), len(one) + more * (len(two) - len(one))


def weight_bytes(dtype: str) -> int:
    """Bytes of one number of this type."""
    return _BYTES[dtype]


def read_shape(student: StudentConfig, base_dir: Path, *, settings: Path | None = None) -> Shape | None:
    """The shape of a student whose config.json is at hand (`settings`: that very file); None for one that is not here,
    or whose code is its owner's, which is not run for a look.

    Raises ModelError where the file says too little.
    """
    if student.trust_remote_code and settings is None:
        return None
    file, tokenizer = settings, 0
    if file is None:
        source = find_model(student.model, base_dir)
        if (Path(source) / "adapter_config.json").is_file():
            source = base_of(source)
        folder = Path(source) if Path(source).is_dir() else _cached(source)
        if folder is None:
            return None
        file = folder / "config.json"
        tokenizer = sum(one.stat().st_size for one in folder.glob("*") if one.suffix in (".json", ".model", ".txt"))
    try:
        read: dict[str, Any] = read_json(file, nan=True)
        shape = Shape(student, json.dumps(read), _dtype(read), tokenizer)
        if shape.layers < 1:
            raise ValueError("no layers")
    except (OSError, DataError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"student {student.name}: {file} tells no shape of a model ({str(error)[:200]})") from error
    return shape


def with_form(shape: Shape, **form: Any) -> Shape:
    """The same model in another form (`lora`, `quantize`, ...)."""
    again = copy.copy(shape)
    object.__setattr__(again, "student", shape.student.model_copy(update=form))
    return again


def _dtype(settings: dict[str, Any]) -> str:
    named = settings.get("dtype") or settings.get("torch_dtype")
    named = named or settings.get("text_config", {}).get("dtype")
    return str(named) if named in _BYTES else "float32"


def _cached(hub_id: str) -> Path | None:
    """The folder of a hub id that was fetched before."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(hub_id, "config.json")
    except ValueError:
        return None
    return Path(found).parent if isinstance(found, str) else None
