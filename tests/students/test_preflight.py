"""What is wrong with a student is said before anything is bought for it: folders, and a hub of our own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from qrdistill.base.errors import InputError, ModelError
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.loading import load_student
from qrdistill.students.preflight import check_students


def test_sizes_are_those_of_the_loaded_student(tiny_student_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = str(tiny_student_folder("llama"))
    kinds = [{}, {"lora": LoraSettings(rank=4)}, {"lora": LoraSettings(targets="all-linear")}, {"frozen": True}]
    for kind in kinds:
        config = StudentConfig(name="ada", model=folder, **kind)
        [look] = check_students([config], tmp_path)
        student = load_student(config, base_dir=tmp_path)
        assert look.parameters == sum(
            one.numel() for name, one in student.model.named_parameters() if "lora" not in name
        )
        assert look.trained == sum(one.numel() for one in student.trainable_parameters())


def test_a_vocabulary_beyond_the_embedding_is_found_without_weights(
    tiny_student_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_student_folder("llama"), tmp_path / "m")
    (folder / "model.safetensors").unlink()
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"vocab_size": 100}))
    with pytest.raises(ModelError, match="student ada: the tokenizer in .* knows 330 tokens, the model only 100"):
        check_students([StudentConfig(name="ada", model="m")], tmp_path)
    (folder / "config.json").write_text(json.dumps({"model_type": "nosuch"}))
    with pytest.raises(ModelError, match="student ada: .*does not load"):
        check_students([StudentConfig(name="ada", model="m")], tmp_path)


class _Hub(BaseHTTPRequestHandler):
    """Answers as the hub does: gated/... needs access, missing/... is not there."""

    def do_HEAD(self) -> None:
        gated = "gated" in self.path
        self.send_response(403 if gated else 404)
        self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
        self.send_header("X-Error-Message", "no")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_hubs_refusals_are_one_message_with_the_mend(hub: str, tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from qrdistill.students.preflight import check_students
from qrdistill.students.config import StudentConfig
for model in sys.argv[1:]:
    try:
        check_students([StudentConfig(name="ada", model=model)], Path("/"))
    except Exception as error:
        print(type(error).__name__, error)
"""
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    told = subprocess.run(
        [sys.executable, "-c", code, "me/gated", "me/missing"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert told[0].startswith(
        "ModelError student ada: me/gated is gated: ask for access at https://huggingface.co/me/gated"
    )
    assert told[1].startswith("ModelError student ada: the hub has no model me/missing")


def test_a_hub_id_that_cannot_be_fetched_stops_what_trains_and_nothing_else(
    tmp_path: Path,
) -> None:
    student = StudentConfig(name="ada", model="me/unknown")
    with pytest.raises(ModelError, match=r"me/unknown is not in the cache.*hf download me/unknown"):
        check_students([student], tmp_path)
    assert check_students([student], tmp_path, hub=False) == []


def test_extras_are_looked_for_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(InputError, match=r"student ada: quantize needs bitsandbytes.*qrdistill\[qlora\]"):
        check_students([StudentConfig(name="ada", model="lab:mistral-tiny", quantize="nf4")], tmp_path)
