"""GGUF files, read back by others: the gguf package's reader, transformers' own loader, plain numpy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from qrdistill.base.errors import InputError
from qrdistill.students.config import StudentConfig
from qrdistill.students.export import export_student
from qrdistill.students.exports.gguf_families import NotKnown
from qrdistill.students.exports.gguf_file import check_gguf, write_gguf
from qrdistill.students.exports.gguf_vocabulary import vocabulary
from qrdistill.students.loading import load_student

WINDOWS = {"layer_types": ["sliding_attention", "full_attention"]}
SIX = {"num_hidden_layers": 6, "layer_types": ["sliding_attention"] * 5 + ["full_attention"]}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
TEXTS = ["Ann has 3 apples and buys 4 more.\nThink step by step. 3 + 4 = 7, so the answer is 7."]


def write(folder: Path, tmp_path: Path, kind: str = "f16", **more: Any) -> Path:
    student = load_student(StudentConfig(name="ada", model=str(folder)), base_dir=tmp_path)
    out = export_student(student, tmp_path / "out")
    stops = sorted(student.codec.stop_ids)
    return write_gguf(out, out / "ada.gguf", kind, name="ada", stop_ids=stops, end_id=student.codec.end_id, **more)


@pytest.mark.parametrize(
    ("family", "changes"),
    [("llama", {}), ("mistral", {}), ("qwen2", {}), ("qwen3", {}), ("gemma2", WINDOWS), ("gemma3_text", SIX)],
)
def test_transformers_reads_the_same_model_back(
    family: str, changes: dict[str, Any], tiny_student_folder: Callable[..., Path], tmp_path: Path
) -> None:
    heads = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    if family.startswith("gemma"):
        heads["query_pre_attn_scalar"] = 16
    folder = tiny_student_folder(family, **heads, **changes)
    file = write(folder, tmp_path)
    ids = torch.tensor([[1, 40, 17, 9, 60, 33, 12, 8, 41, 5]])
    first: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    known = ("llama", "mistral", "qwen2")  # of the others it reads the weights, but not every setting
    settings = {} if family in known else {"config": AutoConfig.from_pretrained(folder)}
    again: Any = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", gguf_file=file.name, dtype=torch.float32, **settings
    )
    with torch.no_grad():
        expected, found = first(ids).logits, again(ids).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02 * float(expected.abs().max()))


def test_gemmas_norms_carry_the_one_and_q8_keeps_what_blocks_do_not_divide(
    tiny_student_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_student_folder("gemma", intermediate_size=48, hidden_size=32)
    file = write(folder, tmp_path, "q8_0")
    read = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    norm, up, down = (
        torch.from_numpy(dequantize(read[name].data, read[name].tensor_type).copy())
        for name in ("blk.1.attn_norm.weight", "blk.1.ffn_up.weight", "blk.1.ffn_down.weight")
    )
    layer = model.model.layers[1]
    torch.testing.assert_close(norm, layer.input_layernorm.weight.detach() + 1)
    torch.testing.assert_close(up, layer.mlp.up_proj.weight.detach(), rtol=0, atol=5e-3)
    torch.testing.assert_close(down, layer.mlp.down_proj.weight.detach(), rtol=1e-3, atol=1e-4)
    assert [read[f"blk.1.ffn_{kind}.weight"].tensor_type.name for kind in ("up", "down")] == ["Q8_0", "F16"]
    assert "output.weight" not in read  # tied to the embedding


def test_llama_31s_positions_are_slowed_as_transformers_does(
    tiny_student_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_student_folder("llama", rope_parameters=LLAMA3, hidden_size=64)
    read = {tensor.name: tensor.data for tensor in GGUFReader(write(folder, tmp_path)).tensors}
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    plain = 1 / 10000.0 ** (torch.arange(0, 16, 2) / 16)
    torch.testing.assert_close(
        plain / torch.from_numpy(read["rope_freqs.weight"].copy()), model.model.rotary_emb.inv_freq
    )


@pytest.mark.parametrize("kind", ["byte_level", "metaspace"])
def test_the_vocabulary_template_and_stops_travel(
    kind: str, tiny_student_folder: Callable[..., Path], tmp_path: Path
) -> None:
    template = "{% for m in messages %}{{ m['content'] }}<turn>{% endfor %}"
    folder = tiny_student_folder("llama", tokenizer=kind, chat_template=template)
    reader = GGUFReader(write(folder, tmp_path, texts=TEXTS if kind == "metaspace" else ()))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    facts = {name: field.contents() for name, field in reader.fields.items()}
    assert facts["tokenizer.chat_template"] == template
    assert (facts["tokenizer.ggml.eos_token_id"], facts["tokenizer.ggml.eot_token_id"]) == (2, 4)
    assert facts["tokenizer.ggml.add_bos_token"]
    assert facts["tokenizer.ggml.tokens"] == tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    if kind == "byte_level":
        assert facts["tokenizer.ggml.pre"] == "gpt-2"
        assert len(facts["tokenizer.ggml.merges"]) > 20
    else:
        again = AutoTokenizer.from_pretrained(tmp_path / "out", gguf_file="ada.gguf")
        assert again(TEXTS[0])["input_ids"] == tokenizer(TEXTS[0])["input_ids"]


@pytest.mark.parametrize(("regex", "pre"), [(r"\p{N}{1,3}", "llama-bpe"), (r"\p{N}", "qwen2"), (None, None)])
def test_the_splitter_is_found_by_trial(
    regex: str | None, pre: str | None, tiny_student_folder: Callable[..., Path]
) -> None:
    from tokenizers import Regex, pre_tokenizers

    tokenizer = AutoTokenizer.from_pretrained(tiny_student_folder("llama"))
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    split = pre_tokenizers.Split(Regex(pattern % regex if regex else "[aeiou]"), behavior="isolated")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    numbers = ["12", "123", "23", "45", "345", "(x"]  # so that the cuts of 12345 and f(x) differ
    spec["model"]["vocab"] |= {text: len(tokenizer) + at for at, text in enumerate(numbers)}
    spec["model"]["merges"] += [["1", "2"], ["12", "3"], ["2", "3"], ["4", "5"], ["3", "45"], ["(", "x"]]
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(spec)), eos_token="</s>")
    if pre is None:
        with pytest.raises(NotKnown, match="splits text in a way that llama.cpp does not have"):
            vocabulary(made, len(made), TEXTS)
    else:
        assert vocabulary(made, len(made), TEXTS).pre == pre


def test_the_demos_own_tokenizers_are_cut_the_same_on_what_they_know() -> None:
    from qrdistill.students.find_model import find_model

    for name in ("mistral-tiny", "gemma-tiny"):
        tokenizer = AutoTokenizer.from_pretrained(find_model(f"lab:{name}", Path()))
        found = vocabulary(tokenizer, len(tokenizer) + 3, ["Ann has 3 pens. How many pens?\nThe answer is 12.\n"])
        assert (found.pre, found.otherwise) == ("gpt-2", 0.0)
        assert found.tokens[-1] == f"[PAD{len(tokenizer) + 2}]"


def test_what_cannot_be_written_is_one_message(
    tiny_student_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("QRDISTILL_LLAMA_CPP", raising=False)
    with pytest.raises(InputError, match=r"'phi' are not among.*clone https.*QRDISTILL_LLAMA_CPP"):
        write(tiny_student_folder("phi"), tmp_path)
    with pytest.raises(InputError, match=r"--gguf q3: there are f16, q8_0, q4_k_m"):
        check_gguf("q3")
    scaled = tiny_student_folder("gemma3_text", **SIX, query_pre_attn_scalar=99)
    (tmp_path / "two").mkdir()
    with pytest.raises(InputError, match="scaled by 99"):
        write(scaled, tmp_path / "two")
    assert not list(tmp_path.rglob("*.gguf"))


def test_other_families_go_through_llama_cpps_converter(
    tiny_student_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "checkout" / "convert_hf_to_gguf.py"
    script.parent.mkdir()
    script.write_text("import sys, pathlib; pathlib.Path(sys.argv[3]).write_text(' '.join(sys.argv[1:]))")
    monkeypatch.setenv("QRDISTILL_LLAMA_CPP", str(script.parent))
    file = write(tiny_student_folder("phi"), tmp_path)
    out = tmp_path / "out"
    told = file.read_text().split()
    assert (told[0], told[1], told[3:]) == (str(out), "--outfile", ["--outtype", "f16"])
    script.write_text("import sys; sys.exit('no such model')")
    (tmp_path / "two").mkdir()
    with pytest.raises(InputError, match="converter says: no such model"):
        write(tiny_student_folder("phi"), tmp_path / "two")
