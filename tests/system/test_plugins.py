"""A package of its own adds one of everything: docs/plugins.md, installed beside us and run end to end."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from command import call, python

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
((DECLARED,), (CONFIG,)) = ([text for language, text in BLOCKS if language == one] for one in ("toml", "yaml"))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Where the package lies: its module, and the metadata that an installer would write."""
    site = tmp_path / "site"
    info = site / "my_package-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "my_package.py").write_text("from __future__ import annotations\n" + "\n".join(PYTHON))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    groups = tomllib.loads(DECLARED)["project"]["entry-points"]
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in own.items()) for group, own in groups.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return site


def test_every_example_is_short() -> None:
    assert len(PYTHON) == len(tomllib.loads(DECLARED)["project"]["entry-points"])
    assert [text for text in PYTHON if len(text.splitlines()) >= 10] == []


def test_a_package_adds_one_of_everything_and_a_run_uses_them(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG)
    done = call("run", "c.yaml", "--quiet", "--json", cwd=tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "plugged"
    resolved = yaml.safe_load((run / "config.yaml").read_text())
    assert resolved["teachers"] == [
        {"name": "echo", "styles": None, "thinking": "drop", "kind": "echo", "prefix": "Thus"}
    ]
    assert resolved["filter"]["judges"] == [{"kind": "polite", "name": "polite", "word": "Thus"}]
    assert (resolved["encoder"]["scale"], resolved["router"]["bias"]) == (10, 0.25)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["read"] for line in lines] == [2, 2]  # its method's own record
    assert len((next(run.rglob("tracked.txt"))).read_text().splitlines()) == 2 + 1  # two steps, and the scores
    told = call("show", run, "paths", "--json", cwd=tmp_path, PYTHONPATH=str(installed))
    assert "Thus: the answer is 3." in told.stdout


MISTAKES = [
    ("prefix: Thus", "prefx: Thus", "c.yaml:4: teachers.0.prefx: unknown key; did you mean 'prefix'?"),
    ("word: Thus", "wrd: Thus", "c.yaml:8: filter.judges.0.wrd: unknown key; did you mean 'word'?"),
    ("scale: 10", "scale: ten", "c.yaml:9: encoder.scale: 'ten': input should be a valid number"),
    ("bias: 0.25", "bais: 0.25", "c.yaml:10: router.bais: unknown key; did you mean 'bias'?"),
    ("kind: echo", "kind: ecko", "c.yaml:4: teachers.0.kind: unknown kind 'ecko'; did you mean 'echo'?"),
    ("kind: coin", "kind: coni", "c.yaml:10: router.kind: unknown kind 'coni'; did you mean 'coin'?"),
    (
        "methods: [plain]",
        "methods: [plian]",
        "c.yaml:13: train.methods.0: unknown method 'plian'; did you mean 'plain'?",
    ),
    ("engine: tidy", "engine: tdiy", "c.yaml:14: evaluate.engine.kind: unknown engine 'tdiy'; did you mean 'tidy'?"),
]
TELL = """
from pathlib import Path
from qrdistill.base.errors import ConfigError
from qrdistill.runs.load_config import load_config
for file in sorted(Path().glob("*/c.yaml")):
    try:
        load_config(file)
        print("accepted")
    except ConfigError as error:
        print(error)
"""


def test_a_mistake_in_a_plug_in_s_keys_is_named_like_ours(installed: Path, tmp_path: Path) -> None:
    for number, (right, wrong, _) in enumerate(MISTAKES):
        assert right in CONFIG
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "c.yaml").write_text(CONFIG.replace(right, wrong, 1))
    told = call(TELL, cwd=tmp_path, main=python, PYTHONPATH=str(installed)).stdout.splitlines()
    assert len(told) == len(MISTAKES)
    for line, (_, _, words) in zip(told, MISTAKES, strict=True):
        assert words in line


def test_what_is_not_declared_is_named_by_module_and_function(installed: Path, tmp_path: Path) -> None:
    config = CONFIG.replace("kind: echo", "kind: my_package:Echo").replace("[short]", "[my_package:SHORT]")
    config = config.replace("kind: coin", "kind: my_package:Coin").replace('"mine:gemma"', '"my_package:mine:gemma"')
    config = config.replace("task: sums", 'task: "my_package:sums"').replace(
        "kind: lengths", "kind: my_package:lengths"
    )
    config = config.replace("- {name: polite, kind: polite, word: Thus}", "- my_package:Polite")
    for line in (installed / "my_package-1.0.dist-info" / "entry_points.txt").read_text().split("\n\n"):
        if "comparers" in line:  # the questions of the task name it
            (installed / "my_package-1.0.dist-info" / "entry_points.txt").write_text(line)
    (tmp_path / "c.yaml").write_text(
        config.replace("engine: tidy", "engine: my_package:tidy")
        .replace("[lines]", "[]")
        .replace("[plain]", "[my_package:plain]")
    )
    done = call("run", "c.yaml", "--until", "filter", "--quiet", cwd=tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
