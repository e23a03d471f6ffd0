"""What writes the completions: our own decoding, or vLLM where a GPU is worth its start.

An engine is opened once per student and is then a function of prompts. `torch` repeats bit for bit;
`vllm` is faster for large students on a GPU, and its greedy completions may differ where two tokens
are almost equally likely. It is therefore used only where the config asks for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qrdistill.base.errors import InputError
from qrdistill.base.plugins import registry
from qrdistill.base.progress import Progress
from qrdistill.scores.config import EvaluateConfig
from qrdistill.students.config import StudentConfig

if TYPE_CHECKING:
    from qrdistill.students.decode.decode import Completion


class Writer(Protocol):
    def __call__(
        self, prompts: Sequence[str], *, samples: int = 1, temperature: float = 0.0, seed: int = 0
    ) -> list[list[Completion]]:
        """`samples` completions per prompt, in order; temperature 0 is greedy."""
        ...


def open_engine(
    settings: StudentConfig,
    config: EvaluateConfig,
    *,
    base_dir: Path,
    device: str,
    seed: int,
    progress: Progress,
) -> Writer:
    opener = registry.find("engines", config.engine, key="evaluate.engine")
    return opener(settings, config, base_dir=base_dir, device=device, seed=seed, progress=progress)


def open_torch(
    settings: StudentConfig,
    config: EvaluateConfig,
    *,
    base_dir: Path,
    device: str,
    seed: int,
    progress: Progress,
) -> Writer:
    from qrdistill.students.decode.decode import decode
    from qrdistill.students.loading import load_student

    student = load_student(settings, base_dir=base_dir, device=device, seed=seed, progress=progress)

    def write(
        prompts: Sequence[str], *, samples: int = 1, temperature: float = 0.0, seed: int = 0
    ) -> list[list[Completion]]:
        return decode(
            student,
            prompts,
            max_tokens=config.limit,
            batch_size=config.batch_size,
            temperature=temperature,
            seed=seed,
            samples=samples,
            stop=config.stop,
        )

    return write


def open_vllm(
    settings: StudentConfig,
    config: EvaluateConfig,
    *,
    base_dir: Path,
    device: str,
    seed: int,
    progress: Progress,
) -> Writer:
    """Token ids go in and come out, so prompts and their special tokens are exactly those of torch.

    A prompt that fills the context yields an empty completion, as with torch; vLLM itself would refuse the lot.
    """
    from transformers import AutoConfig, AutoTokenizer

    from qrdistill.students.decode.decode import Completion, before
    from qrdistill.students.find_model import find_model
    from qrdistill.students.tokens import Codec

    source = find_model(settings.model, base_dir)
    if (Path(source) / "adapter_config.json").exists():
        raise InputError(
            f"student {settings.name}: vLLM needs merged weights; run `qrdistill export --merge`, or evaluate with "
            "engine: torch"
        )
    try:
        vllm: Any = importlib.import_module("vllm")
    except ImportError as error:
        raise InputError(
            "evaluate.engine is vllm, which is not installed: pip install 'qrdistill[vllm]', or use engine: torch"
        ) from error
    tokenizer: Any = AutoTokenizer.from_pretrained(source, trust_remote_code=settings.trust_remote_code)
    shape: Any = AutoConfig.from_pretrained(source, trust_remote_code=settings.trust_remote_code)
    own = getattr(shape.get_text_config(), "max_position_embeddings", None)
    context: float = settings.max_context or own or float("inf")
    codec = Codec(tokenizer, name=settings.name)
    model = vllm.LLM(
        model=source,
        dtype=settings.dtype,
        seed=seed,
        max_model_len=settings.max_context,
        enable_prefix_caching=True,
        trust_remote_code=settings.trust_remote_code,
    )

    def completion(one: Any) -> Completion:
        return Completion(
            text=before(
                codec.completion([token for token in one.token_ids if token not in codec.stop_ids]), config.stop
            ),
            logprob=float(one.cumulative_logprob),
            tokens=len(one.token_ids),
            finish_reason="length" if one.finish_reason == "length" else "stop",
        )

    def write(
        prompts: Sequence[str], *, samples: int = 1, temperature: float = 0.0, seed: int = 0
    ) -> list[list[Completion]]:
        parameters = vllm.SamplingParams(
            n=samples,
            temperature=temperature,
            seed=seed,
            max_tokens=config.limit,
            stop=config.stop,
            stop_token_ids=sorted(codec.stop_ids),
            logprobs=0,  # the chosen token's alone, before temperature
        )
        asked = [codec.prompt_ids(prompt) for prompt in prompts]
        requests = [{"prompt_token_ids": list(ids)} for ids in asked if len(ids) < context]
        written: Any = iter(model.generate(requests, parameters, use_tqdm=False) if requests else [])
        return [
            [completion(one) for one in next(written).outputs]
            if len(ids) < context
            else [Completion("", 0.0, 0, "length")] * samples
            for ids in asked
        ]

    return write
