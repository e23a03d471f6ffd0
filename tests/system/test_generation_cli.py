"""`qrdistill run` against a real server, as a user sees it: stopped, killed, resumed; and no key anywhere."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

from command import Command
from fault_server import FaultServer
from generation_runner import KEY, KEY_NAME, no_key_in

SHORT = [
    "train.steps=1",
    "train.paths_per_step=2",
    "evaluate.max_tokens=4",
    "router.kind=random",
    "evaluate.styles=[vanilla]",
]


def answered(body: dict[str, Any]) -> str:
    """Right answers; the text echoes the key in both spellings."""
    [number] = re.findall(r"What is (\d+) \+ 1", body["messages"][-1]["content"])
    return f"Your key is ESCAPED, or QUOTED. The answer is {int(number) + 1}."


def start(folder: Path, url: str, *arguments: str) -> Command:
    rows = [
        {"id": f"q{n}", "split": split, "question": f"What is {n} + 1?", "gold": str(n + 1)}
        for n, split in enumerate(["train"] * 40 + ["dev"] * 2 + ["test"] * 2)
    ]
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    teacher = {
        "name": "api",
        "kind": "openai",
        "model": "tiny",
        "base_url": url,
        "api_key_env": KEY_NAME,
        "concurrency": 4,
        "timeout": 60,
        "price": {"input": 1, "output": 2},
    }
    config = {
        "name": "cli",
        "questions": {"task": "jsonl", "file": "q.jsonl", "kind": "number", "train": None, "dev": None, "test": None},
        "teachers": [teacher],
        "paths": {"styles": ["vanilla", "facts"]},
        "students": [{"name": "a", "model": "lab:mistral-tiny"}],
    }
    (folder / "c.yaml").write_text(json.dumps(config))
    return Command("run", "c.yaml", *arguments, cwd=folder, environment={KEY_NAME: KEY})


def finish(process: Command) -> tuple[int, str]:
    done = process.said(240)
    return done.returncode, done.stdout + done.stderr


def test_a_run_to_its_report_holds_no_key(tmp_path: Path):
    kinds = ("refuse", "malformed", "error", "busy", "empty", "reset")
    with FaultServer(rate=0.4, kinds=kinds, text=answered) as server:
        code, said = finish(start(tmp_path, server.url, *(part for item in SHORT for part in ("--set", item))))
        assert set(server.served) >= {*kinds, "fine"}
    assert code == 0, said
    assert (tmp_path / "runs/cli/report.html").exists()
    no_key_in(tmp_path / "runs", said)
    assert f"<{KEY_NAME}>" in said, "the failures were told"
    assert f"&lt;{KEY_NAME}&gt;" in (tmp_path / "runs/cli/report.html").read_text(), "so were the paths"


def test_ctrl_c_exits_130_a_kill_loses_nothing_and_the_same_command_goes_on(tmp_path: Path):
    at: dict[int, int] = {20: signal.SIGINT, 40: signal.SIGKILL}
    processes: list[Command] = []

    def watch(body: object) -> None:
        number = at.pop(sum(server.seen.values()) + 1, None)
        if number:
            processes[-1].send_signal(number)

    with FaultServer(latency=0.1, text=answered, watch=watch) as server:
        found: list[tuple[int, str]] = []
        for _ in range(3):
            processes.append(start(tmp_path, server.url, "--until", "generate"))
            found.append(finish(processes[-1]))
        assert len(server.seen) == 80
        assert max(server.replied.values()) <= 2
        # bought again: what was on the wire at the kill (4), or on the way to the disk (4: a slow disk holds them up)
        assert sum(server.replied.values()) <= 80 + 2 * 4
    (interrupted, said), (killed, _), (done, last) = found
    assert (interrupted, killed, done) == (130, -signal.SIGKILL, 0), last
    assert re.search(r"finishing \d requests in flight; press Ctrl-C again", said)
    assert "run the same command again to go on, nothing is asked twice" in said
    assert "Traceback" not in said + last
    assert re.search(r"bought \d+  cached \d+  failed 0", last)
