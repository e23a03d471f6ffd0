"""Training state on disk: everything that shapes the future, in safetensors and JSON, no pickle.

    checkpoints/step-00000050/state.safetensors    weights that train, optimizers, ledger, methods
    checkpoints/step-00000050/state.json           the step, a fingerprint of what is trained on, counters
    checkpoints/step-00000050/parts/               of several processes: students and optimizers, see `mesh.parts`

Randomness needs no state: every draw is a function of the seed and of names (`base.draws`). A
checkpoint appears whole or not at all, so a kill at any moment leaves the one before. Every file carries its
checksum, and nothing is gone on from that does not match it: then the one before it serves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from qrdistill.base.checksums import KEY, PLACEHOLDER, Damaged, check, seal
from qrdistill.base.errors import DataError, TrainingError
from qrdistill.base.ownership import remove_files
from qrdistill.base.untrusted.guarded_json import read_json
from qrdistill.students.student import Student
from qrdistill.training.mesh.parts import Like, check_parts, read_parts, remove_parts
from qrdistill.training.saved import journal
from qrdistill.training.step import Team

_FORMAT = 3


def save(folder: Path, team: Team, facts: Mapping[str, Any], *, keep_last: int) -> None:
    """Writes one checkpoint after `facts["step"]` finished steps, then removes the oldest. Every process calls it."""
    tensors, plain = _collect(team)
    with team.ranks.writing(folder / f"step-{facts['step']:08d}") as temporary:
        small = {name: value for name, value in tensors.items() if not _is_large(name, value, team)}
        if not team.ranks.alone:
            team.ranks.write_parts(temporary / "parts", {name: tensors[name] for name in tensors.keys() - small.keys()})
            small, plain = team.ranks.everyone(small), team.ranks.everyone(plain)
        if team.ranks.first:
            written = tensors if team.ranks.alone else small
            _save_sealed({name: value.cpu() for name, value in written.items()}, temporary / "state.safetensors")
            said = {"format": _FORMAT, **facts, "optimizers": plain, "parts": not team.ranks.alone, KEY: PLACEHOLDER}
            (temporary / "state.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
            seal(temporary / "state.json")
    for old in list_checkpoints(folder)[:-keep_last] if team.ranks.first else ():
        _remove(old)


def list_checkpoints(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").is_file())


def latest(folder: Path, fingerprint: str, warn: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
    """The newest intact checkpoint of this very training; those of another one, and damaged ones, are removed.

    A checkpoint is intact with the journal that it goes on. Raises TrainingError where the best weights
    so far are damaged: no other checkpoint has them.
    """
    spoilt = False
    for path in reversed(list_checkpoints(folder)):
        try:
            facts = _intact(path)
        except Damaged as error:
            spoilt = True
            warn(f"{error}: training does not go on from checkpoint {path.name} but from the one before it")
        else:
            if facts["format"] == _FORMAT and facts["fingerprint"] == fingerprint:
                if (folder / "best").exists():
                    _check_best(folder / "best")
                return path, facts
        _remove(path)
    if spoilt:
        warn(f"no checkpoint in {folder} is intact: training begins at its first step")
    return None


def _intact(path: Path) -> dict[str, Any]:
    """The facts of a checkpoint. Raises Damaged."""
    facts: dict[str, Any] = {}
    try:
        facts = read_json(path / "state.json", nan=True, fields={"format": int})
    except (OSError, DataError):
        raise Damaged(f"{path / 'state.json'} is damaged (no JSON)") from None
    if facts.get("format") == 1:
        return {"fingerprint": "", **facts}  # of a version without checksums: not gone on from
    check(path / "state.json", required=True)
    check(path / "state.safetensors", required=True)
    if facts.get("parts"):
        check_parts(path / "parts")
    journal.check_journal(path.parent.parent, facts["journal"])
    return facts


def _check_best(best: Path) -> None:
    try:
        if (best / "parts").exists():
            check_parts(best / "parts")
        else:
            check(best / "weights.safetensors", required=True)
    except Damaged as error:
        raise TrainingError(
            f"{error}; these are the best weights so far and there is no second copy: delete {best.parent} and "
            "run the same command again to train from the first step"
        ) from error


def _save_sealed(tensors: dict[str, Tensor], file: Path) -> None:
    save_file(tensors, file, metadata={KEY: PLACEHOLDER})
    seal(file)


def _remove(checkpoint: Path) -> None:
    remove_parts(checkpoint)
    remove_files(checkpoint, ("state.json", "state.safetensors"))


def restore(path: Path, facts: Mapping[str, Any], team: Team) -> None:
    """Puts every tensor back, whatever layout wrote it. Raises DataError where the file is damaged."""
    tensors = _load(path / "state.safetensors")
    if facts.get("parts") or not team.ranks.alone:
        tensors |= read_parts(path / "parts" if facts.get("parts") else path, _like(team))
    _fill(tensors, team.students)
    team.ledger.load_state_dict(_part(tensors, "ledger/"))
    for method in team.methods:
        method.load_state_dict(_part(tensors, f"method/{method.name}/"))
    for group in team.groups:
        group.load_state(_part(tensors, f"optimizer/{group.name}/"), facts["optimizers"][group.name])


def restore_students(path: Path, students: Sequence[Student]) -> None:
    """Puts one checkpoint's weights into students loaded from the same config: to look at how they were.

    Raises DataError where the file is damaged.
    """
    tensors = _load(path / "state.safetensors")
    if (path / "parts").exists():
        own = _weights("student/", students)
        tensors |= read_parts(path / "parts", lambda name, *_: torch.zeros_like(own[name]) if name in own else None)
    _fill(tensors, students)


def save_weights(target: Path, team: Team) -> None:
    """Only what trains: the best state so far, by dev accuracy. Every process calls it."""
    tensors = {name: value.detach().contiguous() for name, value in _weights("", team.students).items()}
    with team.ranks.writing(target) as temporary:
        if team.ranks.alone:
            _save_sealed({name: value.cpu() for name, value in tensors.items()}, temporary / "weights.safetensors")
        else:
            team.ranks.write_parts(temporary / "parts", tensors)


def restore_weights(target: Path, team: Team) -> None:
    """Puts the best state back. Raises TrainingError where it is damaged."""
    team.ranks.from_first(lambda: _check_best(target))
    own = _weights("", team.students)
    place = target / "parts" if (target / "parts").exists() else target
    if team.ranks.alone and place == target:
        tensors = load_file(target / "weights.safetensors")
    else:
        tensors = read_parts(place, lambda name, *_: torch.zeros_like(own[name]) if name in own else None)
    for name, parameter in own.items():
        parameter.data.copy_(tensors[name])


def _like(team: Team) -> Like:
    """Of a student's weight and its optimizer's state: cut like the weight; of the rest nothing."""
    weights: dict[str, Tensor] = _weights("student/", team.students)
    states = {
        f"optimizer/{group.name}/{index}": parameter
        for group in team.groups
        for index, parameter in enumerate(group.parameters)
    }

    def like(name: str, size: torch.Size, dtype: torch.dtype) -> Tensor | None:
        owner = weights.get(name, states.get(name.split(".")[0] if name.startswith("optimizer/") else ""))
        if owner is None or not size:
            return None
        return torch.zeros_like(owner.detach(), dtype=dtype) if owner.shape == size else torch.empty(size, dtype=dtype)

    return like


def _is_large(name: str, value: Tensor, team: Team) -> bool:
    """What stands in the parts where several processes save."""
    students = tuple(f"{kind}/{student.name}/" for student in team.students for kind in ("student", "optimizer"))
    return name.startswith(students) and value.dim() > 0


def _load(file: Path) -> dict[str, Tensor]:
    try:
        check(file, required=True)
        return load_file(file)
    except (Damaged, OSError, SafetensorError) as error:
        raise DataError(f"damaged checkpoint ({error}); delete it and run the same command again", file=file) from error


def _collect(team: Team) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    tensors |= _weights("student/", team.students)
    tensors |= {f"ledger/{name}": value for name, value in team.ledger.state_dict().items()}
    for method in team.methods:
        tensors |= {f"method/{method.name}/{name}": value for name, value in method.state_dict().items()}
    for group in team.groups:
        state, plain[group.name] = group.state()
        tensors |= {f"optimizer/{group.name}/{name}": value for name, value in state.items()}
    return {name: value.detach().contiguous() for name, value in tensors.items()}, plain


def _fill(tensors: Mapping[str, Tensor], students: Sequence[Student]) -> None:
    for student in students:
        own = _part(tensors, f"student/{student.name}/")
        for name, parameter in _trainable(student.model):
            parameter.data.copy_(own[name])


def _weights(prefix: str, students: Sequence[Student]) -> dict[str, Tensor]:
    return {f"{prefix}{one.name}/{name}": value for one in students for name, value in _trainable(one.model)}


def _trainable(model: Any) -> Iterable[tuple[str, Any]]:
    return [(name, value) for name, value in model.named_parameters() if value.requires_grad]


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
