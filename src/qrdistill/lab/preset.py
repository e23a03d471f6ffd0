"""What a run is made of where its config says nothing: the embedded default."""

from __future__ import annotations

from qrdistill.base.plugins.presets import Preset

PRESET = Preset(
    task="lab",
    sections={
        "name": "lab",
        "teachers": [{"kind": "lab"}],
        "filter": {"judges": ["lab"]},
        "train": {"steps": 200},
        "own_paths": {"max_tokens": 160},
        "evaluate": {"max_tokens": 160, "batch_size": 256},  # students so small that a step's fixed cost counts most
        "students": [
            {"name": "mistral", "model": "lab:mistral-tiny", "learning_rate": 1e-3},
            {"name": "gemma", "model": "lab:gemma-tiny", "learning_rate": 1e-3},
        ],
    },
)
