"""One training, laid out over one, two and four processes: the same losses, the same assignments."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from qrdistill.base.progress import Silent
from qrdistill.base.records import Assignment, Question, ReasoningPath, path_id
from qrdistill.base.store import read_table
from qrdistill.cost.cluster import Layout, Settings, wire_bytes
from qrdistill.cost.shape import read_shape
from qrdistill.paths.styles import STYLES
from qrdistill.routing.config import RouterConfig
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.training.config import MutualConfig, TrainConfig
from qrdistill.training.plan import TrainData, TrainPlan
from qrdistill.training.train import train

LAYOUTS = [(2, 1), (1, 2), (2, 2)]
# weight of a training whose bytes are counted -> its students; each reads once a step, and compared paths once more
MUTUAL = {0.0: 1, 0.1: 2}
STEPS = 4


@pytest.fixture(scope="session")
def processes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("processes", Path(__file__).with_name("processes.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["processes"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def data() -> TrainData:
    """Eight questions with a path in two styles each, and an embedding per path."""
    questions, paths = {}, []
    for number in range(8):
        name = f"train-{number}"
        text = f"Ann has {number} apples and buys {number + 2} more. How many?"
        questions[name] = Question(
            id=name, split="train", task="t", family="sums", kind="number", question=text, gold=str(2 * number + 2)
        )
        texts = {
            "chain_of_thought": f"She has {number} apples.\nShe buys {number + 2} more.\nThe answer is {2 * number + 2}.",
            "program": f"x = {number} + {number + 2}\nprint(x)\nThe answer is {2 * number + 2}.",
        }
        for style, lesson in texts.items():
            paths.append(
                ReasoningPath(
                    id=path_id(0, name, "t", style, 0),
                    question_id=name,
                    teacher="t",
                    style=style,
                    prompt_hash="",
                    text=lesson,
                    answer=str(2 * number + 2),
                )
            )
    embeddings = np.random.default_rng(0).standard_normal((len(paths), 6)).astype(np.float32)
    dev = [row.model_copy(update={"id": f"dev-{n}", "split": "dev"}) for n, row in enumerate(questions.values())][:2]
    return TrainData(questions, paths, STYLES, embeddings, dev=dev)


@pytest.fixture(scope="session")
def students(tiny_student_folder: Callable[..., Path]) -> list[StudentConfig]:
    folders = {
        "ada": tiny_student_folder("mistral"),
        "bob": tiny_student_folder("gemma", tokenizer="metaspace", seed=1),
    }
    return [StudentConfig(name=name, model=str(folder), learning_rate=3e-3) for name, folder in folders.items()]


def plan_of(students: list[StudentConfig], layout: tuple[int, int] = (1, 1), **changes: Any) -> TrainPlan:
    settings = {
        "steps": STEPS,
        "paths_per_step": 6,
        "warmup": 0,
        "device": "cpu",
        "checkpoint_every": 2,
        "keep_last": 9,
        "max_tokens_per_batch": 220,
        "eval_every": 3,
        "eval_questions": 1,
    }
    mesh = {"students": layout[0], "data": layout[1], "timeout": 60} | changes.pop("mesh", {})
    config = TrainConfig(**(settings | changes | {"mesh": mesh}))
    router = RouterConfig(kind="learned", warm="pool", peer_loss="fresh")
    return TrainPlan(students, router, MutualConfig(weight=0.1), config, dev_tokens=4)


@pytest.fixture(scope="session")
def trained(
    processes: ModuleType, data: TrainData, students: list[StudentConfig], tmp_path_factory: pytest.TempPathFactory
) -> dict[Any, Path]:
    """The folder of each layout's training."""
    place = tmp_path_factory.mktemp("layouts")
    found: dict[Any, Path] = {layout: place / "{}-{}".format(*layout) for layout in [(1, 1), *LAYOUTS]}
    train(data, plan_of(students), found[1, 1], base_dir=Path("."), seed=0, progress=Silent())

    def job(layout: tuple[int, int]) -> Any:
        return processes.Job(layout[0] * layout[1], found[layout], data, plan_of(students, layout))

    wires: list[Any] = []
    for weight, learning in MUTUAL.items():
        found["wire", weight] = place / f"wire-{weight}"
        quiet = plan_of(students[:learning], (1, 2), eval_every=None, checkpoint_every=9, max_tokens_per_batch=4096)
        quiet = replace(quiet, router=RouterConfig(kind="all"), mutual=MutualConfig(weight=weight))
        wires.append(processes.Job(2, found["wire", weight], data, quiet))
    processes.train_in_phases([[job((2, 1)), job((1, 2))], [job((2, 2))], wires], place)
    return found


@pytest.mark.parametrize("weight", MUTUAL)
def test_the_wire_carries_what_a_plan_says(
    weight: float, trained: dict[Any, Path], students: list[StudentConfig]
) -> None:
    """By what the kernel counted of a process that writes no file between two steps."""
    sent = [int(line) for line in (trained["wire", weight] / "sent-1.txt").read_text().split()]
    steps = [after - before for before, after in pairwise(sent[1:])]
    settings = Settings(4096, [0], 0.5, 50, 6, checkpointing=False, number=4, compared=weight > 0)
    layout, learning = Layout(1, 2, (0, 0)), MUTUAL[weight]
    shapes = [read_shape(student, Path(".")) for student in students[:learning]]
    said = sum(wire_bytes(shape, layout, settings, 300, learning, backend="gloo") for shape in shapes if shape)
    assert steps == pytest.approx([said] * len(steps), rel=0.1)


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def same(one: Any, two: Any, place: str = "") -> None:
    """Numbers to five digits (sums in another order), everything else exactly."""
    if isinstance(one, dict):
        assert list(one) == list(two), place
        for key in one:
            same(one[key], two[key], f"{place}.{key}")
    elif isinstance(one, float):
        assert two == pytest.approx(one, rel=2e-4, abs=2e-5), place
    else:
        assert one == two, place


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_one_loss_curve(trained: dict[tuple[int, int], Path], layout: tuple[int, int]) -> None:
    alone, shared = metrics(trained[1, 1]), metrics(trained[layout])
    assert len(alone) == len(shared) == STEPS
    for one, two in zip(alone, shared, strict=True):
        tokens = one.pop("tokens"), two.pop("tokens")  # a prefix may be computed once in each process
        assert all(tokens[1][name] >= count for name, count in tokens[0].items())
        same(one, two, f"step {one['step']}")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_one_assignment_table(trained: dict[tuple[int, int], Path], layout: tuple[int, int]) -> None:
    tables = [
        [row.model_dump() for row in read_table(trained[one] / "assignments.parquet", Assignment)]
        for one in ((1, 1), layout)
    ]
    assert len(tables[0]) == len(tables[1]) == STEPS * 6 * 2
    for one, two in zip(*tables, strict=True):
        same(one, two, one["path_id"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_exports_the_same_students(trained: dict[tuple[int, int], Path], layout: tuple[int, int]) -> None:
    for name in ("ada", "bob"):
        one, two = (load_file(trained[each] / "students" / name / "model.safetensors") for each in ((1, 1), layout))
        assert one.keys() == two.keys()
        for key in one:
            np.testing.assert_allclose(one[key].numpy(), two[key].numpy(), atol=2e-4, err_msg=f"{name} {key}")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_the_first_process_speaks_of_the_training(
    trained: dict[tuple[int, int], Path], layout: tuple[int, int]
) -> None:
    folder = trained[layout]
    assert sorted(file.name for file in folder.glob("said-*")) == [
        f"said-{n}.txt" for n in range(layout[0] * layout[1])
    ]
    assert not [file for file in folder.rglob("*") if file.name.endswith(".tmp")]


@pytest.fixture(scope="session")
def resumed(
    processes: ModuleType,
    data: TrainData,
    students: list[StudentConfig],
    trained: dict[tuple[int, int], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """Trainings that were saved in one layout and ended in another, and of other kinds of students."""
    place = tmp_path_factory.mktemp("resumed")
    found = {name: place / name for name in ("alone-shared", "shared-alone", "shared-shared", "kinds", "kinds-alone")}
    kinds = [
        student.model_copy(update={"name": name} | changes)
        for name, student, changes in (
            ("adapted", students[0], {"lora": LoraSettings(rank=2)}),  # with dropout, drawn per micro-batch
            ("frozen", students[1], {"frozen": True}),
            ("quantized", students[0], {"lora": LoraSettings(rank=2, dropout=0), "quantize": "nf4"}),
        )
    ]
    train(data, plan_of(kinds), found["kinds-alone"], base_dir=Path("."), seed=0, progress=Silent())
    with pytest.raises(KeyboardInterrupt):
        leaving = processes.Leaving(3)
        train(data, plan_of(students), found["alone-shared"], base_dir=Path("."), seed=0, progress=leaving)

    def job(layout: tuple[int, int], name: str, stop_after: int | None = None, **changes: Any) -> Any:
        size = layout[0] * layout[1]
        return processes.Job(size, found[name], data, plan_of(students, layout, **changes), stop_after)

    rare = {"mesh": {"cpu_offload": True, "reshard_after_forward": False}, "gradient_checkpointing": True}
    processes.train_in_phases(
        [
            [job((1, 2), "shared-alone", 3), job((2, 1), "shared-shared", 3)],
            [job((2, 2), "shared-shared")],
            [
                job((1, 2), "alone-shared", **rare),
                processes.Job(2, found["kinds"], data, plan_of(kinds, (1, 2))),
            ],
        ],
        place,
    )
    train(data, plan_of(students), found["shared-alone"], base_dir=Path("."), seed=0, progress=Silent())
    return found


@pytest.mark.parametrize("name", ["alone-shared", "shared-alone", "shared-shared"])
def test_a_checkpoint_of_one_layout_is_gone_on_from_in_another(
    trained: dict[tuple[int, int], Path], resumed: dict[str, Path], name: str
) -> None:
    alone, again = metrics(trained[1, 1]), metrics(resumed[name])
    assert len(again) == STEPS
    for one, two in zip(alone, again, strict=True):
        same({**one, "tokens": None}, {**two, "tokens": None}, f"step {one['step']}")
    said = [file.read_text() for file in resumed[name].glob("said-*.txt")]
    assert name == "shared-alone" or "going on from step 2" in "".join(said)


def test_adapted_quantized_and_frozen_students_learn_the_same_from_two_processes(resumed: dict[str, Path]) -> None:
    alone, shared = metrics(resumed["kinds-alone"]), metrics(resumed["kinds"])
    assert len(shared) == STEPS
    for one, two in zip(alone, shared, strict=True):
        same({**one, "tokens": None}, {**two, "tokens": None}, f"step {one['step']}")
    said = (resumed["kinds"] / "said-0.txt").read_text()
    assert "student quantized: four-bit weights cannot be cut" in said
    assert "dropout: whole micro-batches" in said
    assert (resumed["kinds"] / "students" / "quantized" / "adapter_model.safetensors").is_file()
