"""What can be wrong with a student's folder, and what options change about it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qrdistill.base.errors import ModelError
from qrdistill.base.progress import Silent
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.find_model import find_model
from qrdistill.students.loading import load_student, recompute_activations
from qrdistill.students.packing.proof import prove_at_length
from qrdistill.students.student import Student
from qrdistill.students.tokens import Encoded

PATHS = [("Ann has 3 apples.\nThink step by step.\n", "3 + 4 = 7"), ("Ann has 3 apples.\n", "7 apples.")]


def load(folder: Path | str, base_dir: Path = Path("/"), **options: Any) -> Student:
    names = ("lora", "quantize", "frozen", "dtype", "max_context")
    chosen = {name: options.pop(name) for name in names if name in options}
    return load_student(StudentConfig(name="pupil", model=str(folder), **chosen), base_dir=base_dir, **options)


def nll(student: Student) -> torch.Tensor:
    student.model.eval()
    with torch.no_grad():
        return student.forward([student.encode(*path) for path in PATHS]).nll_B


@pytest.fixture
def copied(tiny_student_folder: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_student_folder("llama"), tmp_path / "model"))


def test_a_folder_is_found_beside_the_config(copied: Path) -> None:
    assert find_model("model", copied.parent) == str(copied.resolve())
    assert load("model", copied.parent).source == str(copied.resolve())


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere/at/all", "models/mine/"])
def test_a_missing_folder_is_not_looked_for_on_the_hub(model: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no folder"):
        load(model, tmp_path)


def test_an_unknown_scheme_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"unknown scheme 'labb'; did you mean 'lab'"):
        load("labb:mistral-tiny", tmp_path)


def spoil_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def truncate_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])


def remove_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def unknown_family(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "nobody"}')


@pytest.mark.parametrize("spoil", [spoil_config, remove_weights, truncate_weights, remove_tokenizer, unknown_family])
def test_a_broken_folder_is_named_in_one_line(spoil: Callable[[Path], None], copied: Path) -> None:
    spoil(copied)
    with pytest.raises(ModelError) as caught:
        load(copied)
    message = str(caught.value)
    assert message.startswith("student pupil: ")
    assert str(copied) in message
    assert "\n" not in message


def test_missing_weights_never_start_at_random(copied: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks weights \(1, first model.layers.1.mlp.up_proj.weight\)"):
        load(copied)


def test_a_tokenizer_of_another_model_is_refused(copied: Path) -> None:
    tokenizer = json.loads((copied / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append(
        {
            "id": 5000,
            "content": "<far>",
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
    )
    (copied / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match="do not belong together"):
        load(copied)


def test_adapters_need_modules_that_exist(copied: Path) -> None:
    with pytest.raises(ModelError, match=r"names query, which this model lacks; it has .*q_proj"):
        load(copied, lora=LoraSettings(targets=["query"]))


def test_four_bit_weights_do_not_train_alone(copied: Path) -> None:
    with pytest.raises(ModelError, match="add lora"):
        load(copied, quantize="nf4")


def test_what_trains(copied: Path) -> None:
    everything = load(copied)
    assert len(everything.trainable_parameters()) == len(list(everything.model.parameters()))
    adapters = load(copied, lora=LoraSettings(rank=2))
    attention, feed_forward = (32 + 32) + (32 + 16) + (32 + 16) + (32 + 32), 3 * (32 + 48)  # in + out of each matrix
    layers, rank = 2, 2
    assert sum(p.numel() for p in adapters.trainable_parameters()) == layers * rank * (attention + feed_forward)
    assert load(copied, frozen=True).trainable_parameters() == []


def test_adapters_start_from_the_seed_and_leave_the_global_one(copied: Path) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first, again, other = (load(copied, lora=LoraSettings(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    weights = [student.trainable_parameters()[0] for student in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    torch.testing.assert_close(nll(first), nll(load(copied)))  # new adapters change nothing yet


def test_gradient_checkpointing_changes_no_gradient(copied: Path) -> None:
    gradients = []
    for saving in (False, True):
        student = load(copied)
        if saving:
            recompute_activations(student.model)
        student.forward([student.encode(*path) for path in PATHS]).nll_B.sum().backward()
        gradients.append([parameter.grad for parameter in student.trainable_parameters()])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3_text"])
def test_autocast_stays_near_full_precision(family: str, tiny_student_folder: Callable[..., Path]) -> None:
    """Windows and soft-capping go through masks, whose type must follow."""
    folder = tiny_student_folder(family, **({"sliding_window": 8} if family == "mistral" else {}))
    student = load(folder, autocast="bfloat16")
    view = student.forward([student.encode(*path) for path in PATHS])
    assert view.nll_B.dtype == torch.float32
    view.nll_B.sum().backward()
    assert all(parameter.dtype == torch.float32 for parameter in student.trainable_parameters())
    exact = nll(load(folder))
    torch.testing.assert_close(view.nll_B.detach(), exact, rtol=0.05, atol=0.1)
    assert not torch.equal(view.nll_B.detach(), exact)


def test_a_family_that_cannot_be_packed_says_so_once_and_is_still_right(
    tiny_student_folder: Callable[..., Path],
) -> None:
    """gpt_oss lets its attention function be replaced, but hands it sinks that ours does not know."""
    for family, changes in (("mamba", {}), ("gpt_oss", {"head_dim": 8, "num_local_experts": 4})):
        progress = Silent()
        student = load(tiny_student_folder(family, **changes), progress=progress)
        assert not student.packed
        assert len(progress.warnings) == 1
        assert family in progress.warnings[0]
        together, alone = nll(student), []
        for path in PATHS:
            with torch.no_grad():
                alone.append(student.forward([student.encode(*path)]).nll_B)
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
        view = student.forward([student.encode(*path) for path in PATHS], hidden=True)
        assert view.hidden is not None
        assert [len(h) for h in view.hidden] == [len(student.encode(*path).spans) for path in PATHS]


@pytest.mark.parametrize(("autocast", "share"), [("none", 1.0), ("bfloat16", 0.2)])
def test_packing_that_leaks_is_found(
    copied: Path, monkeypatch: pytest.MonkeyPatch, autocast: str, share: float
) -> None:
    """The proof at load can fail: with segments ignored it must refuse, also where rounding hides the leak."""
    from qrdistill.students import attention

    rightly = attention._segments

    def leaking(query: Any, key: Any, value: Any, plan: Any, rules: Any) -> Any:
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return torch.lerp(rightly(query, key, value, plan, rules), out.transpose(1, 2), share)

    monkeypatch.setattr(attention, "_segments", leaking)
    progress = Silent()
    student = load(copied, progress=progress, autocast=autocast)
    assert not student.packed
    assert "cannot be packed" in progress.warnings[0]


def test_the_context_is_the_models_or_shorter(copied: Path) -> None:
    assert load(copied).codec.max_context == 256
    assert load(copied, max_context=9).codec.max_context == 9


# families whose window reaches attention through the mask alone: packed, they would see everything
MASK_ONLY: dict[str, dict[str, Any]] = {
    "qwen2_moe": {"use_sliding_window": True, "sliding_window": 48, "num_experts": 4, "moe_intermediate_size": 16},
    "phimoe": {"sliding_window": 48, "num_local_experts": 4},
}


def long_path(student: Student, count: int) -> Encoded:
    ids = [(7 * at * at + 3 * at) % student.num_rows for at in range(count)]
    return Encoded(tuple(ids[: count // 2]), tuple(ids[count // 2 :]), [])


@pytest.mark.parametrize("family", list(MASK_ONLY))
def test_a_window_that_only_a_mask_knows_is_found_by_short_paths(
    family: str, tiny_student_folder: Callable[..., Path]
) -> None:
    folder = tiny_student_folder(family, **MASK_ONLY[family])
    student = load(folder, progress=Silent())
    assert not student.packed
    assert student.core.config.sliding_window == 48, "shrunk for the proof alone"
    paths = [long_path(student, 120), long_path(student, 20)]
    student.model.eval()
    with torch.no_grad():
        together = student.forward(paths).nll_B
        alone = torch.cat([student.forward([path]).nll_B for path in paths])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["mistral", "gemma3_text"])
def test_a_window_that_attention_is_told_of_is_packed_beyond_it(
    family: str, tiny_student_folder: Callable[..., Path]
) -> None:
    student = load(tiny_student_folder(family, sliding_window=16))
    assert student.packed
    assert {getattr(module, "sliding_window", None) for module in student.core.modules()} <= {16, None}
    paths = [long_path(student, 60), long_path(student, 20)]
    assert prove_at_length(student, paths) is None


def test_the_proof_is_made_again_with_the_pools_longest_path(tiny_student_folder: Callable[..., Path]) -> None:
    student = load(tiny_student_folder("gemma3_text", sliding_window=16))
    paths = [long_path(student, 60), long_path(student, 20)]
    assert prove_at_length(student, paths) is None
    student.core.config.sliding_window = 24  # the family's own mask now says otherwise than its layers
    assert "at 59 tokens its packed batches change losses; they are padded" in str(prove_at_length(student, paths))
    assert not student.packed


def test_a_long_neighbour_changes_no_short_loss_under_longrope(tiny_student_folder: Callable[..., Path]) -> None:
    factors = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [3.0, 5.0, 7.0, 9.0]}
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 32, **factors}
    folder = tiny_student_folder("phi3", rope_parameters=rope, original_max_position_embeddings=32)
    student = load(folder)
    assert (student.packed, student.rope_limit) == (True, 32)
    short, long = long_path(student, 20), long_path(student, 60)
    student.model.eval()
    with torch.no_grad():
        beside = student.forward([short, long]).nll_B
        alone = torch.cat([student.forward([path]).nll_B for path in (short, long)])
        student.rope_limit = None
        mixed = student.forward([short, long]).nll_B
    torch.testing.assert_close(beside, alone, rtol=1e-4, atol=1e-4)
    assert abs(float(mixed[0] - alone[0])) > 1e-3, "the long factors would have turned the short path"


def test_a_model_that_reads_ahead_is_refused(tiny_student_folder: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match=r"student pupil: the model reads ahead.*is_decoder: true"):
        load(tiny_student_folder("bert"))


def test_what_backward_keeps_is_estimated_within_a_factor_of_two(copied: Path) -> None:
    """`gradient_checkpointing: auto` decides by it."""
    from qrdistill.students.out_of_memory import activation_bytes

    student = load(copied)
    weights = {weight.data_ptr() for weight in student.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    encoded = [student.encode(f"{number} {prompt}", text) for number in range(4) for prompt, text in PATHS]
    held: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: held.append(tensor) or keep(tensor), lambda tensor: tensor
    ):
        view = student.forward(encoded, shared_prefix=False)
    estimated = activation_bytes(student.core.config.get_text_config(), view.num_tokens)
    assert 0.5 < estimated / sum(kept.values()) < 2
