"""What a student's `model` means: a folder, a hub id, or `scheme:name`."""

from __future__ import annotations

from pathlib import Path

from qrdistill.base.errors import ConfigError, ModelError
from qrdistill.base.plugins import registry


def comes_with_the_package(model: str) -> bool:
    """Whether a model is one of a scheme of our own, whose folders are known to load."""
    return model.partition(":")[0] in registry.bundled("model_schemes")


def find_model(model: str, base_dir: Path) -> str:
    """The folder (absolute) or hub id that a config's `model` means.

    Raises ModelError for a path that does not exist or an unknown scheme.
    """
    if ":" in model:
        return _by_scheme(model)
    folder = base_dir / model
    if folder.is_dir():
        return str(folder.resolve())
    looks_like_path = model.startswith((".", "/", "~")) or model.count("/") > 1 or model.endswith("/")
    if looks_like_path or folder.exists():
        raise ModelError(f"model {model!r}: there is no folder {folder}; paths are relative to the config file")
    return model


def _by_scheme(model: str) -> str:
    """`scheme:name` or `module:function:name`; the scheme is a function from a name to a folder or hub id."""
    scheme, _, name = model.partition(":")
    if not registry.knows("model_schemes", scheme) and ":" in name:
        function, _, name = name.partition(":")
        scheme = f"{scheme}:{function}"
    try:
        return str(registry.find("model_schemes", scheme)(name))
    except ConfigError as error:
        raise ModelError(f"model {model!r}: {error.message}") from error
