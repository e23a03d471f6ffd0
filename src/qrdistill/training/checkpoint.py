"""Training state on disk: everything that shapes the future, in safetensors and JSON, no pickle.

    checkpoints/step-00000050/state.safetensors    weights that train, optimizers, router, ledger, mutual
    checkpoints/step-00000050/state.json           the step, a fingerprint of what is trained on, counters

Randomness needs no state: every draw is a function of the seed and of names (`routing.draws`). A
checkpoint appears whole or not at all, so a kill at any moment leaves the one before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from qrdistill.base.errors import DataError
from qrdistill.base.ownership import remove_files
from qrdistill.base.store import atomic
from qrdistill.students.student import Student
from qrdistill.training.step import Team

_FORMAT = 1


def save(folder: Path, team: Team, facts: Mapping[str, Any], *, keep_last: int) -> Path:
    """Writes one checkpoint after `facts["step"]` finished steps, then removes the oldest."""
    tensors, plain = _collect(team)
    target = folder / f"step-{facts['step']:08d}"
    with atomic(target) as temporary:
        temporary.mkdir(parents=True)
        save_file(tensors, temporary / "state.safetensors")
        text = json.dumps({"format": _FORMAT, **facts, "optimizers": plain}, indent=1)
        (temporary / "state.json").write_text(text + "\n", encoding="utf-8")
    for old in list_checkpoints(folder)[:-keep_last]:
        _remove(old)
    return target


def list_checkpoints(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").is_file())


def latest(folder: Path, fingerprint: str) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint of this very training; those of another one are removed."""
    for path in reversed(list_checkpoints(folder)):
        facts = json.loads((path / "state.json").read_text(encoding="utf-8"))
        if facts.get("format") == _FORMAT and facts.get("fingerprint") == fingerprint:
            return path, facts
        _remove(path)
    return None


def _remove(checkpoint: Path) -> None:
    remove_files(checkpoint, ("state.json", "state.safetensors"))


def restore(path: Path, facts: Mapping[str, Any], team: Team) -> None:
    """Puts every tensor back. Raises DataError where the file is damaged."""
    try:
        tensors = load_file(path / "state.safetensors")
    except (OSError, SafetensorError) as error:
        raise DataError(f"damaged checkpoint ({error}); delete its folder and run again", file=path) from error
    for student in team.students:
        own = _part(tensors, f"student/{student.name}/")
        for name, parameter in _trainable(student.model):
            parameter.data.copy_(own[name])
    team.assigner.load_state_dict(_part(tensors, "assigner/"))
    team.ledger.load_state_dict(_part(tensors, "ledger/"))
    if team.mutual is not None:
        team.mutual.load_state_dict(_part(tensors, "mutual/"))
    for group in team.groups:
        group.load_state(_part(tensors, f"optimizer/{group.name}/"), facts["optimizers"][group.name])


def restore_students(path: Path, students: Sequence[Student]) -> None:
    """Puts one checkpoint's weights into students loaded from the same config: to look at how they were.

    Raises DataError where the file is damaged.
    """
    try:
        tensors = load_file(path / "state.safetensors")
    except (OSError, SafetensorError) as error:
        raise DataError(f"damaged checkpoint ({error}); delete the run and start it again", file=path) from error
    for student in students:
        own = _part(tensors, f"student/{student.name}/")
        for name, parameter in _trainable(student.model):
            parameter.data.copy_(own[name])


def save_weights(target: Path, students: Sequence[Student]) -> None:
    """Only what trains: the best state so far, by dev accuracy."""
    tensors = {
        f"{student.name}/{name}": value.detach().contiguous().cpu()
        for student in students
        for name, value in _trainable(student.model)
    }
    with atomic(target) as temporary:
        temporary.mkdir(parents=True)
        save_file(tensors, temporary / "weights.safetensors")


def restore_weights(target: Path, students: Sequence[Student]) -> None:
    tensors = load_file(target / "weights.safetensors")
    for student in students:
        for name, parameter in _trainable(student.model):
            parameter.data.copy_(tensors[f"{student.name}/{name}"])


def _collect(team: Team) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for student in team.students:
        tensors |= {f"student/{student.name}/{name}": value for name, value in _trainable(student.model)}
    tensors |= {f"assigner/{name}": value for name, value in team.assigner.state_dict().items()}
    tensors |= {f"ledger/{name}": value for name, value in team.ledger.state_dict().items()}
    if team.mutual is not None:
        tensors |= {f"mutual/{name}": value for name, value in team.mutual.state_dict().items()}
    for group in team.groups:
        state, plain[group.name] = group.state()
        tensors |= {f"optimizer/{group.name}/{name}": value for name, value in state.items()}
    return {name: value.detach().contiguous().cpu() for name, value in tensors.items()}, plain


def _trainable(model: Any) -> Iterable[tuple[str, Any]]:
    return [(name, value) for name, value in model.named_parameters() if value.requires_grad]


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
