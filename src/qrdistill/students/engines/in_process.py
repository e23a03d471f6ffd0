"""The engine `vllm`: vLLM in this process, one per base model, which outlives the stages that use it.

Adapters go along with each request, unmerged; whole weights are exchanged in place, by the folder that holds them.
Between two uses it sleeps (level 1: weights in the machine's memory, the cache dropped), so that training has the GPU.
Neither is trusted: each opening is a new proof (`engines.check`), by the prompt's log-probabilities.

Token ids go in and come out, so prompts and their special tokens are exactly those of our own decoder. This module is
written to vLLM's documented interface and tried against a stand-in of it; it has not run on a GPU here.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qrdistill.students.adapters import base_of, remembered_quantization
from qrdistill.students.config import StudentConfig
from qrdistill.students.decode.decode import Completion, before
from qrdistill.students.engines.config import EngineConfig, VllmEngine
from qrdistill.students.engines.engine import Surroundings
from qrdistill.students.find_model import find_model
from qrdistill.students.tokens import Codec, Encoded

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM's `max_lora_rank` may be
_HIGHEST = 64  # of them: room for later students of the same base


# a folder with its files' sizes and dates: training writes a student anew to the same place
_Contents = tuple[str, tuple[tuple[str, int, int], ...]]


class _Resident:
    """The one engine of a base. weights: the whole ones that it has; adapters: each as the request that brings it."""

    def __init__(self, model: Any, weights: _Contents) -> None:
        self.model, self.weights, self.asleep = model, weights, False
        self.adapters: dict[_Contents, Any] = {}

    def wake(self) -> None:
        if self.asleep:
            self.model.wake_up()
            self.asleep = False

    def sleep(self) -> None:
        if not self.asleep:
            self.model.sleep(level=1)
            self.asleep = True

    def load(self, folder: str) -> None:
        """Exchanges whole weights in place; what the prefix cache holds was computed with the old ones."""
        if (weights := _contents(folder)) != self.weights:
            self.model.collective_rpc("reload_weights", kwargs={"weights_path": folder})
            self.model.reset_prefix_cache()
            self.weights = weights


_RESIDENT: dict[tuple[Any, ...], _Resident] = {}


def open_vllm(settings: StudentConfig, config: EngineConfig, around: Surroundings) -> VllmWriter:
    assert isinstance(config, VllmEngine)
    vllm = importlib.import_module("vllm")
    source = find_model(settings.model, around.base_dir)
    adapted = Path(source, "adapter_config.json").is_file()
    quantized = remembered_quantization(source, settings).quantize if adapted else settings.quantize
    codec = around.student().codec
    around.forget()  # its memory is vLLM's now
    _empty_cache()
    base = base_of(source) if adapted else _shape(source)
    key = (base, adapted, quantized, settings.dtype, settings.max_context, config.memory)
    resident = _RESIDENT.get(key)
    for other in _RESIDENT.values():
        if other is not resident:
            other.sleep()
    if resident is None:
        model = vllm.LLM(
            model=base if adapted else source,
            tokenizer=source,
            dtype=settings.dtype,
            seed=around.seed,
            max_model_len=settings.max_context,
            gpu_memory_utilization=config.memory,
            enable_prefix_caching=True,
            enable_sleep_mode=True,
            trust_remote_code=settings.trust_remote_code,
            **({"quantization": "bitsandbytes"} if quantized else {}),
            **({"enable_lora": True, "max_lora_rank": _rank(settings)} if adapted else {}),
        )
        resident = _RESIDENT[key] = _Resident(model, _contents(source))
    resident.wake()
    if not adapted:
        resident.load(source)
        return VllmWriter(vllm, resident, codec, None)
    contents = _contents(source)
    if contents not in resident.adapters:  # a number and a name of its own: vLLM's caches go by them
        number = len(resident.adapters) + 1
        request = importlib.import_module("vllm.lora.request").LoRARequest
        resident.adapters[contents] = request(f"{settings.name}-{number}", number, source)
    return VllmWriter(vllm, resident, codec, resident.adapters[contents])


class VllmWriter:
    """One student in vLLM; a prompt that fills the context yields an empty completion, as with our own decoder."""

    measured_here = False

    def __init__(self, vllm: Any, resident: _Resident, codec: Codec, adapter: Any) -> None:
        self._vllm, self._resident, self._codec, self._adapter = vllm, resident, codec, adapter

    def close(self) -> None:
        self._resident.sleep()

    def __call__(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int,
        samples: int = 1,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> list[list[Completion]]:
        context: float = self._codec.max_context or float("inf")
        parameters = self._vllm.SamplingParams(
            n=samples,
            temperature=temperature,
            seed=seed,
            max_tokens=max_tokens,
            stop=list(stop),
            stop_token_ids=sorted(self._codec.stop_ids),
            logprobs=0,  # the chosen token's alone, before temperature
        )
        asked = [self._codec.prompt_ids(prompt) for prompt in prompts]
        written = iter(self._generate([ids for ids in asked if len(ids) < context], parameters))
        return [
            [self._completion(one, stop) for one in next(written).outputs]
            if len(ids) < context
            else [Completion("", 0.0, 0, "length")] * samples
            for ids in asked
        ]

    def log_probabilities(self, paths: Sequence[Encoded]) -> list[list[float]] | None:
        parameters = self._vllm.SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0)
        read = self._generate([(*path.prompt_ids, *path.response_ids) for path in paths], parameters)
        return [
            [
                float(given[token].logprob)
                for token, given in zip(path.response_ids, one.prompt_logprobs[len(path.prompt_ids) :], strict=True)
            ]
            for path, one in zip(paths, read, strict=True)
        ]

    def _generate(self, prompts: Sequence[Sequence[int]], parameters: Any) -> list[Any]:
        if not prompts:
            return []
        requests = [{"prompt_token_ids": list(ids)} for ids in prompts]
        adapter = {"lora_request": self._adapter} if self._adapter is not None else {}
        return self._resident.model.generate(requests, parameters, use_tqdm=False, **adapter)

    def _completion(self, one: Any, stop: Sequence[str]) -> Completion:
        ids = [token for token in one.token_ids if token not in self._codec.stop_ids]
        return Completion(
            text=before(self._codec.completion(ids), stop),
            logprob=float(one.cumulative_logprob),
            tokens=len(one.token_ids),
            finish_reason="length" if one.finish_reason == "length" else "stop",
        )


def _contents(source: str) -> _Contents:
    files = sorted(path for path in Path(source).glob("*") if path.is_file())
    return source, tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)


def _rank(settings: StudentConfig) -> int:
    rank = settings.lora.rank if settings.lora else _HIGHEST
    return next((one for one in _RANKS if one >= max(rank, _HIGHEST)), _RANKS[-1])


def _shape(source: str) -> str:
    """What students have in common whose weights can take each other's place: their config, less where it came from."""
    from transformers import AutoConfig

    settings: dict[str, Any] = AutoConfig.from_pretrained(source).to_dict()
    return repr(sorted((key, repr(value)) for key, value in settings.items() if key != "_name_or_path"))


def _empty_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
