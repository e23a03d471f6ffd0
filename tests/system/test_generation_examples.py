"""The example configs work as they stand, but for where the model is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from fault_server import FaultServer

from qrdistill.base.errors import ConfigError
from qrdistill.base.records import ReasoningPath
from qrdistill.base.store import read_table
from qrdistill.commands.plans.dryrun import dry_run
from qrdistill.llm.config import OpenAITeacher
from qrdistill.runs.load_config import load_config
from qrdistill.runs.pipeline import run

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("gemini", "vllm", "ollama")
# what belongs to an endpoint: where it is, what it takes, what it costs
ENDPOINT = {
    "base_url",
    "model",
    "api_key_env",
    "max_tokens",
    "concurrency",
    "requests_per_minute",
    "tokens_per_minute",
    "retry_truncated",
    "price",
}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "sk-for-a-test-0123456789")


@pytest.mark.parametrize("name", NAMES)
def test_an_example_plans_without_a_server(name: str, tmp_path: Path):
    planned = dry_run(EXAMPLES / f"{name}.yaml", tmp_path / "runs/x", ())
    [teacher] = planned.paths.teachers
    assert (teacher.calls, teacher.cached) == (36, 0)
    assert (teacher.usd > 0) == (name == "gemini")
    assert ("at least 14 seconds by its limits" in planned.text()) == (name == "gemini")
    assert ("time unknown" in planned.text()) == (name != "gemini")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", NAMES)
def test_an_example_generates_once_endpoint_and_model_are_ours(name: str, tmp_path: Path):
    with FaultServer() as server:
        where = [
            f"teachers.0.base_url={server.url}",
            "teachers.0.model=tiny",
            "teachers.0.requests_per_minute=null",
        ]
        run(EXAMPLES / f"{name}.yaml", tmp_path / "runs/x", where, until="generate")
    paths = list(read_table(tmp_path / "runs/x/paths.parquet", ReasoningPath))
    assert len(paths) == 36


def test_the_examples_differ_in_their_endpoint_only():
    written = [yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text()) for name in NAMES]
    for config in written:
        config.pop("name")
        for field in ENDPOINT:
            config["teachers"][0].pop(field)
    assert written[0] == written[1] == written[2]


@pytest.mark.parametrize("url", ["https://me:sk-in-a-url@api.example/v1", "https://api.example/v1?key=sk-in-a-url"])
def test_a_key_in_the_address_is_refused_unquoted(url: str):
    with pytest.raises(ConfigError, match=r"teachers\.0.*base_url holds a user name or a query") as caught:
        load_config(EXAMPLES / "vllm.yaml", [f"teachers.0.base_url={url}"])
    assert "sk-in-a-url" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_no_key_stands_in_an_example(name: str):
    [teacher] = load_config(EXAMPLES / f"{name}.yaml").teachers
    assert isinstance(teacher, OpenAITeacher)
    assert teacher.api_key_env in (None, "GEMINI_API_KEY")
