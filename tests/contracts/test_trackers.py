"""The contract of every tracker: each figure with its step, an end also after an error, an extra that is named."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from qrdistill.base.errors import InputError
from qrdistill.base.plugins import registry
from qrdistill.training.saved.tracking import track_scores, tracking

EXTRAS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]


class Service:
    """Stands in for every tracker's own library, and for what it opens."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, int], float] = {}
        self.opened = self.closed = 0
        self.settings: dict[str, object] = {}

    def init(self, **settings: object) -> Service:
        self.opened += 1
        self.settings = settings
        return self

    def log(self, values: dict[str, float], step: int | None = None) -> None:
        at = int(values["step"]) if step is None else step
        self.values |= {(name, at): value for name, value in values.items() if name != "step"}

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.values[name, step] = value

    def add_text(self, name: str, text: str) -> None:
        self.settings[name] = text

    def finish(self) -> None:
        self.closed += 1

    close = finish


@pytest.fixture
def service(kind: str, monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    library: Any = ModuleType(kind)
    library.init, library.log, library.finish = made.init, made.log, made.finish
    writer: Any = ModuleType("torch.utils.tensorboard")
    writer.SummaryWriter = lambda folder: made.init(dir=folder)
    monkeypatch.setitem(sys.modules, kind, library)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", writer)
    return made


@pytest.mark.parametrize("kind", registry.bundled("trackers"))
class TestEveryTracker:
    def test_every_figure_arrives_with_its_step_and_the_run_ends(
        self, kind: str, service: Service, tmp_path: Path
    ) -> None:
        with tracking([kind], tmp_path) as log:
            log({"loss": 0.5, "share": {"a": 0.25}, "staleness": None, "warnings": ["text"]}, 0)
            log({"loss": 0.4}, 7)
            assert service.closed == 0
        assert service.values == {("loss", 0): 0.5, ("share/a", 0): 0.25, ("loss", 7): 0.4}
        assert (service.opened, service.closed) == (1, 1)

    def test_the_config_arrives(self, kind: str, service: Service, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text("name: mine\nseed: 3\n")
        with tracking([kind], tmp_path / "rounds" / "1"):
            pass
        given = service.settings["config"]
        assert given in ({"name": "mine", "seed": 3}, "    name: mine\n    seed: 3\n")

    def test_it_ends_where_training_breaks_off(self, kind: str, service: Service, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt), tracking([kind], tmp_path) as log:
            log({"loss": 0.5}, 0)
            raise KeyboardInterrupt
        assert service.closed == 1

    def test_a_missing_library_is_an_extra_that_there_is(
        self, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setitem(sys.modules, kind, None)
        with pytest.raises(InputError, match=rf"pip install 'qrdistill\[{kind}\]'"), tracking([kind], tmp_path):
            pass
        assert kind in EXTRAS


def test_tensorboard_itself_reads_config_and_figures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing import event_accumulator as accumulator

    (tmp_path / "config.yaml").write_text("name: mine\n")
    with tracking(["tensorboard"], tmp_path) as log:
        log({"loss": 0.5}, 0)
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    head = {"student": "ada", "styled": {"accuracy": 0.75}, "free": None}
    head |= {"styled_gain": {"difference": 0.5}, "free_gain": None}
    track_scores(["tensorboard"], tmp_path, {"headlines": [head], "gain": {"untrained": 0.25, "trained": 0.75}})
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(one.step, one.value) for one in events.Scalars("scores/ada/styled")] == [(1, 0.75)]
    assert [one.value for one in events.Scalars("scores/ada/styled_gain")] == [0.5]
    assert [one.value for one in events.Scalars("scores/all/untrained")] == [0.25]
    assert [(one.step, one.value) for one in events.Scalars("loss")] == [(0, 0.5)]
    assert b"name: mine" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0]
