"""An exported folder as one GGUF file, for llama.cpp, Ollama and what is built on them.

Families that are common here are written directly, by the `gguf` package; all others by llama.cpp's own converter,
where one is installed. Four-bit files are made from 16 bits by llama.cpp's library.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from qrdistill.base.errors import BoundaryError, InputError
from qrdistill.base.progress import Progress, Silent
from qrdistill.students.exports.gguf_families import FAMILIES, NotKnown, add_settings, tensors
from qrdistill.students.exports.gguf_vocabulary import Vocabulary, vocabulary
from qrdistill.students.quiet_transformers import quiet

TYPES = ("f16", "q8_0", "q4_k_m")
_PLACE = "QRDISTILL_LLAMA_CPP"


def write_gguf(
    folder: Path,
    file: Path,
    kind: str,
    *,
    name: str,
    stop_ids: Sequence[int] = (),
    end_id: int | None = None,
    texts: Sequence[str] = (),
    progress: Progress | None = None,
) -> Path:
    """Writes the model of a folder of full weights as `file`.

    kind: `f16`, `q8_0` or `q4_k_m`. end_id: what closes an answer, where that is not the end of sequence. texts: what
    the student is asked: cut into the same tokens there, or refused.

    Raises InputError where nothing installed can write it.
    """
    check_gguf(kind)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".gguf-") as scratch:
        made = Path(scratch, "model.gguf")
        written = "f16" if kind == "q4_k_m" else kind
        try:
            _write(folder, made, written, name, end_id, stop_ids, texts, progress or Silent())
        except NotKnown as reason:
            made.unlink(missing_ok=True)
            _by_converter(folder, made, written, reason)
        if kind == "q4_k_m":
            sixteen, made = made, Path(scratch, "quantized.gguf")
            _quantize(sixteen, made)
        made.replace(file)
    return file


def check_gguf(kind: str) -> None:
    """Raises InputError where this machine lacks what the type needs; before anything is loaded."""
    if kind not in TYPES:
        raise InputError(f"--gguf {kind}: there are {', '.join(TYPES)}")
    if find_spec("gguf") is None:
        raise InputError("--gguf needs the package gguf; install it: pip install 'qrdistill[gguf]'")
    if kind == "q4_k_m" and find_spec("llama_cpp") is None and _quantizer() is None:
        raise InputError(
            "--gguf q4_k_m needs llama.cpp: pip install llama-cpp-python, or put llama-quantize on the PATH (or its "
            f"folder into {_PLACE}); --gguf q8_0 needs neither"
        )


def _write(
    folder: Path,
    file: Path,
    kind: str,
    name: str,
    end_id: int | None,
    stop_ids: Sequence[int],
    texts: Sequence[str],
    progress: Progress,
) -> None:
    import gguf
    from transformers import AutoConfig, AutoTokenizer

    with quiet():
        config: Any = AutoConfig.from_pretrained(folder).get_text_config()
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise NotKnown(f"models of the type {config.model_type!r} are not among those written here")
    entries = vocabulary(tokenizer, config.vocab_size, texts)
    if entries.otherwise or entries.unlike:
        progress.warn(
            f"student {name}: llama.cpp cuts {100 * (1 - entries.otherwise):.1f} % of the run's questions and paths "
            "into the same tokens; words and signs that the student has never seen may reach it otherwise"
        )
    writer = gguf.GGUFWriter(file, family.architecture)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if kind == "f16" else gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_settings(writer, config, family)
    _add_vocabulary(writer, tokenizer, entries, end_id, stop_ids)
    plan: list[tuple[str, Any]] = []
    for tensor, weight in tensors(folder, config, family):
        type_ = _type_of(tensor, weight.shape, kind)
        shape = gguf.quant_shape_to_byte_shape(weight.shape, type_) if type_ == _q8() else weight.shape
        plan.append((tensor, type_))
        num_bytes = int(np.prod(shape)) * {"F32": 4, "F16": 2, "Q8_0": 1}[type_.name]
        writer.add_tensor_info(tensor, shape, _NUMPY[type_.name], num_bytes, raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for (_, weight), (_, type_) in zip(tensors(folder, config, family), plan, strict=True):
        writer.write_tensor_data(gguf.quants.quantize(weight, type_))
    writer.close()


_NUMPY: dict[str, Any] = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "Q8_0": np.dtype(np.uint8)}


def _q8() -> Any:
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType.Q8_0


def _type_of(name: str, shape: tuple[int, ...], kind: str) -> Any:
    """Vectors stay as they are; rows that eight-bit blocks of 32 do not divide keep 16 bits."""
    from gguf import GGMLQuantizationType as Type

    if len(shape) == 1:
        return Type.F32
    return Type.Q8_0 if kind == "q8_0" and shape[-1] % 32 == 0 else Type.F16


def _add_vocabulary(
    writer: Any, tokenizer: Any, entries: Vocabulary, end_id: int | None, stop_ids: Sequence[int]
) -> None:
    writer.add_tokenizer_model(entries.model)
    writer.add_tokenizer_pre(entries.pre)
    writer.add_token_list(entries.tokens)
    writer.add_token_types(entries.types)
    if entries.scores is not None:
        writer.add_token_scores(entries.scores)
    else:
        writer.add_token_merges(entries.merges)
    for kind in ("bos", "eos", "unk", "pad"):
        if (id := getattr(tokenizer, f"{kind}_token_id")) is not None:
            getattr(writer, f"add_{kind}_token_id")(id)
    others = [id for id in (end_id, *stop_ids) if id is not None and id != tokenizer.eos_token_id]
    for key, id in zip(("eot", "eom"), dict.fromkeys(others), strict=False):
        getattr(writer, f"add_{key}_token_id")(id)
    ids = tokenizer("a")["input_ids"]
    writer.add_add_bos_token(bool(ids) and ids[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(entries.space_prefix)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def _by_converter(folder: Path, file: Path, kind: str, reason: NotKnown) -> None:
    command = _converter()
    if command is None:
        raise InputError(
            f"{folder} cannot be written as GGUF here: {reason}; llama.cpp's converter knows more: clone "
            f"https://github.com/ggml-org/llama.cpp and set {_PLACE} to its folder"
        )
    result = subprocess.run(
        [*command, str(folder), "--outfile", str(file), "--outtype", kind], capture_output=True, text=True
    )
    if result.returncode or not file.is_file():
        said = next((line for line in reversed(result.stderr.splitlines()) if line.strip()), "nothing")
        raise InputError(f"{folder} cannot be written as GGUF: {reason}; llama.cpp's converter says: {said[:200]}")


def _converter() -> list[str] | None:
    script = Path(os.environ.get(_PLACE, ""), "convert_hf_to_gguf.py")
    if os.environ.get(_PLACE) and script.is_file():
        return [sys.executable, str(script)]
    found = shutil.which("convert_hf_to_gguf.py")
    if found is not None:
        return [sys.executable, found]
    command = shutil.which("convert-hf-to-gguf")
    return None if command is None else [command]


def _quantizer() -> str | None:
    place = os.environ.get(_PLACE)
    own = [str(Path(place, folder)) for folder in ("", "build/bin")] if place else []
    for path in (*own, None):
        if (found := shutil.which("llama-quantize", path=path)) is not None:
            return found
    return None


_QUANTIZE = """
import ctypes, json, sys
import llama_cpp
source, target = json.loads(sys.argv[1])
settings = llama_cpp.llama_model_quantize_default_params()
settings.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M
sys.exit(llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(settings)))
"""


def _quantize(source: Path, target: Path) -> None:
    """Four bits by llama.cpp, in a process of its own: it prints, and a fault of it ends no export in the middle."""
    command = [sys.executable, "-c", _QUANTIZE, json.dumps([str(source), str(target)])]
    if find_spec("llama_cpp") is None:
        found = _quantizer()
        assert found is not None  # check_gguf has looked
        command = [found, str(source), str(target), "Q4_K_M"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode or not target.is_file():
        said = next((line for line in reversed(result.stderr.splitlines()) if line.strip()), "nothing")
        raise BoundaryError(f"llama.cpp could not write four bits; it says: {said[:200]}")
