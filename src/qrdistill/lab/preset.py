"""What a run is made of where its config says nothing: the embedded default."""

from __future__ import annotations

from qrdistill.base.plugins.presets import Preset

PRESET = Preset(
    task="lab",
    sections={
        "name": "lab",
        "teachers": [{"kind": "lab"}],
        "filter": {"judges": ["lab"]},
        # students so small that a forward's and a step's fixed cost counts most
        "train": {"steps": 200, "max_tokens_per_batch": 8192},
        "own_paths": {"max_tokens": 160},
        "evaluate": {"max_tokens": 160, "batch_size": 256},
        "students": [
            {"name": "mistral", "model": "lab:mistral-tiny", "learning_rate": 1e-3},
            {"name": "gemma", "model": "lab:gemma-tiny", "learning_rate": 1e-3},
        ],
    },
)
