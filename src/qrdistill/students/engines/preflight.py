"""What an engine needs, asked before anything is paid for."""

from __future__ import annotations

from importlib.util import find_spec
from urllib.parse import urlsplit

from qrdistill.base.errors import ConfigError, InputError
from qrdistill.students.engines.config import EngineConfig, ServerEngine, VllmEngine


def check_engine(config: EngineConfig, key: str) -> None:
    """Raises InputError, or ConfigError at `key`, where this engine cannot be opened at all; imports nothing of it."""
    if isinstance(config, VllmEngine) and find_spec("vllm") is None:
        raise InputError(f"{key} vllm is not installed: pip install 'qrdistill[vllm]', or use engine: local")
    if isinstance(config, ServerEngine):
        if find_spec("openai") is None:
            raise InputError(f"{key} openai needs the SDK: pip install 'qrdistill[api]'")
        from qrdistill.llm.openai_client import key_in

        key_in(config.api_key_env, f"{key}.api_key_env")
        parts = urlsplit(config.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"{config.base_url!r} is not a web address such as http://localhost:8000/v1", key=f"{key}.base_url"
            )
