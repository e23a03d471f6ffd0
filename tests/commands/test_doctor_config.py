"""`qrdistill doctor CONFIG` against real endpoints of our own."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from qrdistill.base.errors import InputError
from qrdistill.commands.doctor_config import examine
from qrdistill.commands.plans.dryrun import dry_run
from qrdistill.runs.pipeline import run

KEY = "sk-for-a-test-0123456789abcdef"


class _Server(BaseHTTPRequestHandler):
    seen: list[tuple[str, str | None]] = []

    def do_GET(self) -> None:
        _Server.seen.append((self.path, self.headers.get("Authorization")))
        kind = self.path.split("/")[1]
        status = {"closed": 401, "listless": 404, "moved": 302}.get(kind, 200)
        body = json.dumps({"data": [{"id": "tiny"}, {"id": "other"}]}) if kind == "open" else "<html>"
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/open/v1/models")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_each_endpoint_is_asked_once_for_its_models(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.delenv("NO_KEY", raising=False)
    kinds = {
        "good": ("open", "tiny", "MY_KEY"),
        "typo": ("open", "tinny", "MY_KEY"),
        "closed": ("closed", "tiny", "MY_KEY"),
        "listless": ("listless", "tiny", "MY_KEY"),
        "moved": ("moved", "tiny", "MY_KEY"),
        "strange": ("strange", "tiny", "MY_KEY"),
        "keyless": ("open", "tiny", "NO_KEY"),
    }
    teachers = [
        {"name": name, "kind": "openai", "model": model, "base_url": f"{url}/{place}/v1", "api_key_env": key}
        for name, (place, model, key) in kinds.items()
    ]
    teachers.append({"name": "away", "kind": "openai", "model": "tiny", "base_url": "http://127.0.0.1:9/v1"})
    config = {
        "name": "mine",
        "questions": {"file": "q.jsonl"},
        "teachers": teachers,
        "students": [{"name": "ada", "model": "lab:mistral-tiny"}, {"name": "bob", "model": "./nosuch"}],
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    _Server.seen.clear()
    facts = {fact.name: fact for fact in examine(tmp_path / "config.yaml")}
    usable = {name: facts[f"teacher {name}"].usable for name in [*kinds, "away"]}
    expected = {"good": True, "listless": True, "strange": True}
    assert usable == {name: expected.get(name, False) for name in usable}
    assert "refuses the key in MY_KEY (401)" in facts["teacher closed"].detail
    assert "does not list the model tinny; it lists 2: tiny, other" in facts["teacher typo"].detail
    assert "NO_KEY is not set" in facts["teacher keyless"].detail
    assert "cannot be reached" in facts["teacher away"].detail
    assert facts["student ada"].usable
    assert "there is no folder" in facts["student bob"].detail
    assert KEY not in str(facts)
    assert len(_Server.seen) == 6  # once each; the key did not follow where one moved to
    assert all(path.endswith("/v1/models") and sent == f"Bearer {KEY}" for path, sent in _Server.seen)


def test_a_training_takes_what_the_dry_run_says(
    tiny_student_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    splits = ["train"] * 4 + ["dev", "test"]
    rows = [
        {"id": f"q{at}", "split": split, "question": f"{at} + 1?", "gold": str(at + 1)}
        for at, split in enumerate(splits)
    ]
    paths = [{"question_id": f"q{at}", "style": "vanilla", "teacher": "t", "text": f"{at + 1}"} for at in range(4)]
    for name, lines in (("q", rows), ("p", paths)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = {
        "name": "mine",
        "questions": {"task": "jsonl", "file": "q.jsonl", "kind": "number", "train": 4, "dev": 1, "test": 1},
        "teachers": [{"name": "t", "kind": "replay", "file": "p.jsonl"}],
        "paths": {"styles": ["vanilla"]},
        "students": [{"name": "ada", "model": str(tiny_student_folder("llama"))}],
        "train": {"steps": 2, "device": "cpu"},
    }
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    plan = dry_run(file, None, ())
    facts = [fact for fact in examine(file) if fact.name == "plan"]
    assert all(fact.usable for fact in facts)

    def without_what_is_measured(lines: Iterable[str]) -> list[str]:
        return [re.sub(r"[0-9.]+ (\w+)", r"\1", line) for line in lines]  # this very process grows as it looks

    assert without_what_is_measured(fact.detail for fact in facts) == without_what_is_measured(plan.takes.lines())
    assert len(facts) == 3

    large = shutil.copytree(tiny_student_folder("llama"), tmp_path / "large")
    settings = json.loads((large / "config.json").read_text())
    (large / "config.json").write_text(json.dumps(settings | {"hidden_size": 1 << 17, "intermediate_size": 1 << 19}))
    file.write_text(yaml.safe_dump(config | {"students": [{"name": "ada", "model": str(large)}]}))
    with pytest.raises(
        InputError, match="training needs .* of memory at its peak, the machine has .*; no setting fits"
    ):
        run(file, tmp_path / "run", until="train")
    refused = [fact.detail for fact in examine(file) if not fact.usable]
    assert without_what_is_measured(refused) == without_what_is_measured(dry_run(file, None, ()).problems)
