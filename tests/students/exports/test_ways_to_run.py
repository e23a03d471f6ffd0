"""What a folder says about running it: Ollama's template is what the tokenizer's own writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.export import export_student
from qrdistill.students.exports.ways_to_run import modelfile
from qrdistill.students.loading import load_student
from qrdistill.students.tokens import plain_template

CHAT = (
    "{{ bos_token }}{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<turn>system\nBe kind.{{ eos_token }}"
    "{% endif %}<turn>{{ m['role'] }}\n{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)
ALONE = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('none') }}{% endif %}"
    "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            CHAT,
            "{{ if .System }}<turn>system\n{{ .System }}</s><turn>user\n{{ else }}<turn>system\nBe kind.</s><turn>user\n"
            "{{ end }}{{ .Prompt }}</s><turn>assistant\n{{ .Response }}</s>",
        ),
        (ALONE, "[{{ .Prompt }}]{{ .Response }}]"),
        (None, "{{ if .System }}{{ .System }}\n{{ else }}{{ end }}{{ .Prompt }}\n{{ .Response }}</s>"),
    ],
)
def test_ollama_asks_as_the_template_does(
    template: str | None, expected: str, tiny_student_folder: Callable[..., Path]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_student_folder("llama"))
    tokenizer.chat_template = template or plain_template(tokenizer)
    text = modelfile(tokenizer, source="./a.gguf", stop_ids=[2, 4], context=100_000)
    assert f'FROM ./a.gguf\nTEMPLATE """{expected}"""\n' in text
    assert 'PARAMETER stop "</s>"\nPARAMETER stop "<turn>"\n' in text
    assert "PARAMETER repeat_penalty 1\nPARAMETER num_ctx 8192\n" in text


def test_a_folder_says_how_it_is_served(tiny_student_folder: Callable[..., Path], tmp_path: Path) -> None:
    config = StudentConfig(name="ada", model=str(tiny_student_folder("llama")), lora=LoraSettings())
    student = load_student(config, base_dir=tmp_path)
    adapters = (export_student(student, tmp_path / "a") / "README.md").read_text()
    assert "--enable-lora --lora-modules ada=." in adapters
    assert not (tmp_path / "a" / "Modelfile").exists()  # Ollama takes no adapters without their base
    merged = export_student(student, tmp_path / "b", merge=True, gguf="ada-q8_0.gguf")
    text = (merged / "README.md").read_text()
    assert "vllm serve . --served-model-name ada --max-model-len 256" in text
    assert "llama-server -m ada-q8_0.gguf --jinja" in text
    assert "FROM ./ada-q8_0.gguf" in (merged / "Modelfile").read_text()
