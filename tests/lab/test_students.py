from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from qrdistill.base.errors import InputError
from qrdistill.lab import student_folder
from qrdistill.lab.mistakes import sound, spurious, wrong
from qrdistill.lab.pretraining import RECIPES, TINY, documents
from qrdistill.lab.questions import problems
from qrdistill.lab.render import OPENINGS, render
from qrdistill.paths.styles import STYLES, student_prompt

NAMES = TINY


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Any]:
    from transformers import AutoTokenizer

    return {name: AutoTokenizer.from_pretrained(student_folder(name)) for name in NAMES}


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Prompts and paths, sound and mistaken, of every split and style, and drills."""
    from random import Random

    rng = Random(0)
    found: list[str] = []
    for part in ("pretraining", "train", "dev", "test"):
        for problem in islice(problems(part, 0), 20):
            found.append(student_prompt(problem.text, None))
            for style in OPENINGS:
                found.append(student_prompt(problem.text, STYLES[style]))
                for shown in (sound(problem), wrong(problem, rng).shown, spurious(problem, style, rng).shown):
                    found.append(render(problem, shown, style))
    for recipe in (RECIPES[name] for name in TINY):
        found += ["".join(piece.text for piece in document) for document in islice(documents(recipe, 1), 20)]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_tokenizers_are_lossless(name: str, tokenizers: dict[str, Any], texts: list[str]) -> None:
    tokenizer = tokenizers[name]
    for text in [*texts, "".join(map(chr, range(32, 127))), "  two  spaces\n\n 100 1234 3x+5=20 \n", ""]:
        ids = tokenizer(text).input_ids
        assert tokenizer.decode(ids) == text
        assert tokenizer.unk_token_id not in ids


@pytest.mark.parametrize("name", NAMES)
def test_offsets_cut_the_text_without_gaps(name: str, tokenizers: dict[str, Any], texts: list[str]) -> None:
    tokenizer = tokenizers[name]
    for text in texts[::7]:
        encoded = tokenizer(text, return_offsets_mapping=True)
        assert "".join(text[start:end] for start, end in encoded.offset_mapping) == text
        for token, (start, end) in zip(encoded.input_ids, encoded.offset_mapping, strict=True):
            assert tokenizer.decode([token]) == text[start:end]


@pytest.mark.parametrize("name", NAMES)
def test_every_number_below_100_is_one_token(name: str, tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers[name]
    ids = [tokenizer(f" {number}").input_ids for number in range(100)]
    assert all(len(one) == 1 for one in ids)
    assert len({one[0] for one in ids}) == 100
    # and as it stands in a path
    assert len(tokenizer("The answer is 27.").input_ids) == len(tokenizer("The answer is 3.").input_ids)


def test_the_two_families_cut_text_differently(tokenizers: dict[str, Any], texts: list[str]) -> None:
    def cut(name: str, text: str) -> list[str]:
        return [tokenizers[name].decode([token]) for token in tokenizers[name](text).input_ids]

    assert len(tokenizers["mistral-tiny"]) != len(tokenizers["gemma-tiny"])
    texts = texts[::3]
    different = sum(cut("mistral-tiny", text) != cut("gemma-tiny", text) for text in texts)
    assert different > 0.5 * len(texts)


def test_prompt_and_path_are_cut_as_if_alone(tokenizers: dict[str, Any], texts: list[str]) -> None:
    """The border between prompt and path is a border of tokens: masks follow from lengths."""
    for tokenizer in tokenizers.values():
        for problem in islice(problems("train", 3), 20):
            prompt = student_prompt(problem.text, STYLES["program"])
            path = render(problem, sound(problem), "program")
            assert tokenizer(prompt + path).input_ids == tokenizer(prompt).input_ids + tokenizer(path).input_ids


@pytest.mark.parametrize("name", NAMES)
def test_folders_are_plain_and_small(name: str) -> None:
    folder = student_folder(name)
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == RECIPES[name].family
    assert config["dtype"] == "float16"
    names = {file.name for file in folder.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert not any(file.suffix in (".bin", ".pt", ".pkl") for file in folder.iterdir())


def test_all_students_together_are_under_two_megabytes() -> None:
    assert sum(file.stat().st_size for name in NAMES for file in student_folder(name).iterdir()) < 2_000_000


@pytest.mark.parametrize(
    ("name", "strong", "weak"),
    [
        ("mistral-tiny", "chain_of_thought", "backward"),
        ("gemma-tiny", "backward", "chain_of_thought"),
    ],
)
def test_shipped_students_are_strong_in_their_own_styles(name: str, strong: str, weak: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from qrdistill.lab.make_students import evaluate

    folder = student_folder(name)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert 150_000 < sum(parameter.numel() for parameter in model.parameters()) < 230_000
    asked = list(islice(problems("test", 7, hard=0.5), 40))
    accuracies = evaluate(model, tokenizer, asked, styles=("free", strong, weak))
    assert accuracies[strong] > 0.45
    assert accuracies["free"] > 0.4
    assert accuracies[weak] < accuracies[strong] - 0.1


def test_an_unknown_student_is_refused_with_the_known_names() -> None:
    with pytest.raises(InputError, match="gemma-tiny, .*mistral-tiny"):
        student_folder("llama-huge")
    with pytest.raises(InputError):
        student_folder("../students/gemma-tiny")


@pytest.mark.usefixtures("one_tokenizer_of_each")
def test_a_short_making_runs_and_repeats_to_the_byte(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from qrdistill.lab.make_students import main

    threads = torch.get_num_threads()
    names = ["mistral-tiny", "gemma-tiny"]
    for name in names:
        monkeypatch.setitem(RECIPES, name, replace(RECIPES[name], batch=4, longest=12))
    short = ["--tokens", "2000", "--dev", "2"]
    try:
        main([*names, *short, "--to", str(tmp_path / "one"), "--seed", "3", "--looks", "1"])
        main([names[0], *short, "--to", str(tmp_path / "two"), "--seed", "3", "--looks", "0"])
        main([names[0], *short, "--to", str(tmp_path / "other"), "--seed", "4", "--looks", "0"])
    finally:
        torch.set_num_threads(threads)

    def weights(folder: str) -> bytes:
        return (tmp_path / folder / names[0] / "model.safetensors").read_bytes()

    assert weights("one") == weights("two") != weights("other")
    assert "dev accuracy free" in capsys.readouterr().err
    for name in names:
        AutoModelForCausalLM.from_pretrained(tmp_path / "one" / name)
        made = AutoTokenizer.from_pretrained(tmp_path / "one" / name)
        shipped = AutoTokenizer.from_pretrained(student_folder(name))
        assert made.get_vocab() == shipped.get_vocab()


def test_making_refuses_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    from qrdistill.lab.make_students import main

    with pytest.raises(SystemExit) as left:
        main(["llama"])
    assert left.value.code == 2
    assert "mistral-tiny" in capsys.readouterr().err
