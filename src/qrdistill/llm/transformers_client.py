"""Chat client `transformers`: a local Hugging Face causal model, for people without a server.

Requests that wait at the same time are answered in one batch, in a thread of their own. Sampling is
done by adding Gumbel noise to the scaled logits and taking the largest (which draws from the softmax),
with a generator per request seeded from its cache key: what a request gets does not depend on which
others happened to share its batch, but for rounding.

Tensor suffixes: B requests of a batch, V vocabulary.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from qrdistill.base.chat_template import render
from qrdistill.base.device import resolve_device
from qrdistill.base.errors import ModelError
from qrdistill.base.thoughts import decoded, opened
from qrdistill.llm.config import TransformersTeacher
from qrdistill.llm.reply_cache import ChatRequest, Reply

_GATHER = 0.02  # seconds that a batch waits for company


class TransformersChat:
    """The model is loaded on the first request; raises ModelError where it cannot be."""

    def __init__(self, config: TransformersTeacher, *, base_dir: Path = Path()) -> None:
        self._config, self._base_dir = config, base_dir
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="transformers-teacher")
        self._waiting: list[tuple[ChatRequest, asyncio.Future[Reply]]] = []
        self._runner: asyncio.Task[None] | None = None
        self._model: Any = None

    async def complete(self, request: ChatRequest) -> Reply:
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        return await answer

    async def close(self) -> None:
        if self._runner:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        self._thread.shutdown(wait=False)  # a batch under way cannot be broken off

    async def _run(self) -> None:
        """Batches until nobody waits; an error goes to everyone in its batch."""
        while self._waiting:
            if len(self._waiting) < self._config.batch_size:
                await asyncio.sleep(_GATHER)
            batch = self._waiting[: self._config.batch_size]
            del self._waiting[: len(batch)]
            loop = asyncio.get_running_loop()
            try:
                replies = await loop.run_in_executor(self._thread, self._generate, [request for request, _ in batch])
            except Exception as error:
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, answer), reply in zip(batch, replies, strict=True):
                if not answer.done():
                    answer.set_result(reply)

    def _load(self) -> Any:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = self._base_dir / self._config.model
        name = str(folder) if folder.is_dir() else self._config.model
        trust = self._config.trust_remote_code
        device = resolve_device(self._config.device, key=f"teachers.{self._config.name}.device")
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust)
            model: Any = AutoModelForCausalLM.from_pretrained(name, trust_remote_code=trust, dtype="auto")
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"teacher {self._config.name!r}: cannot load the model {name!r} "
                f"({str(error).splitlines()[0]}); give a folder or a hub id of a causal language model"
            ) from error
        self._model = model.to(device).eval()
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._tokenizer.padding_side = "left"
        return self._model

    def prompt(self, request: ChatRequest) -> str:
        """The chat template's rendering, or the contents one below the other where there is none.

        Raises ModelError where the template cannot render them.
        """
        if self._tokenizer.chat_template:
            messages = [{"role": role, "content": content} for role, content in request.messages]
            who = f"teacher {self._config.name!r}"
            try:
                return render(self._tokenizer, messages, who=who, add_generation_prompt=True)
            except ModelError:
                raise
            except Exception as error:  # templates are anyone's jinja: anything may be raised
                cause = (str(error).splitlines() or [type(error).__name__])[0]
                raise ModelError(
                    f"{who}: its chat template refuses the messages ({cause}); mend or remove chat_template "
                    "in the model folder"
                ) from error
        return "\n\n".join(content for _, content in request.messages) + "\n"

    def _generate(self, requests: Sequence[ChatRequest]) -> list[Reply]:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        begun = time.monotonic()
        model = self._model or self._load()
        with_template = bool(self._tokenizer.chat_template)  # which writes its own special tokens
        prompts = [self.prompt(request) for request in requests]
        tokens = self._tokenizer(
            prompts,
            return_tensors="pt",
            padding=True,
            add_special_tokens=not with_template,
            return_token_type_ids=False,
        ).to(model.device)
        processors = LogitsProcessorList()
        if any(request.temperature > 0 for request in requests):
            processors.append(_GumbelSampling(requests))
        limit = max(request.max_tokens for request in requests)
        # a fresh config: the model's own may ask for sampling, which is done here
        settings = GenerationConfig(
            max_new_tokens=limit,
            do_sample=False,
            pad_token_id=self._tokenizer.pad_token_id,
            eos_token_id=model.generation_config.eos_token_id or self._tokenizer.eos_token_id,
        )
        with torch.inference_mode():
            written = model.generate(**tokens, generation_config=settings, logits_processor=processors)
        width = tokens["input_ids"].shape[1]
        ends = settings.eos_token_id
        stops = set(ends if isinstance(ends, list) else [ends])
        return [
            self._reply(request, prompt, row[width:].tolist(), int(mask.sum()), stops, time.monotonic() - begun)
            for request, prompt, row, mask in zip(requests, prompts, written, tokens["attention_mask"], strict=True)
        ]

    def _reply(
        self, request: ChatRequest, prompt: str, ids: list[int], num_prompt: int, stops: set[Any], seconds: float
    ) -> Reply:
        end = next((place for place, token in enumerate(ids) if token in stops), None)
        length = min(len(ids) if end is None else end, request.max_tokens)
        stopped = end is not None and end < request.max_tokens
        thought = opened(prompt) if self._tokenizer.chat_template else None  # else an unended one would look like text
        text = (thought[0] if thought else "") + decoded(self._tokenizer, ids[:length])
        return Reply(
            text=text,
            finish_reason="stop" if stopped else "length",
            prompt_tokens=num_prompt,
            completion_tokens=length + stopped,
            latency=seconds,
            response=json.dumps({"ids": ids[:length]}),
        )


class _GumbelSampling:
    """A logits processor: argmax(logits / temperature + Gumbel noise) is a draw from the softmax.

    Rows of temperature 0 stay as they are. With top_p < 1 only the smallest set of tokens whose
    probabilities sum to top_p can be drawn.
    """

    def __init__(self, requests: Sequence[ChatRequest]) -> None:
        import torch

        self._requests = requests
        self._generators = [torch.Generator().manual_seed(int(request.key[:15], 16)) for request in requests]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        scores_BV = scores.float().clone()
        for row, (request, generator) in enumerate(zip(self._requests, self._generators, strict=True)):
            if request.temperature == 0:
                continue
            logits_V = scores_BV[row] / request.temperature
            if request.top_p < 1:
                sorted_V, order_V = logits_V.sort(descending=True)
                before_V = sorted_V.softmax(-1).cumsum(-1) - sorted_V.softmax(-1)
                logits_V[order_V[before_V > request.top_p]] = -torch.inf
            uniform_V = torch.rand(logits_V.shape, generator=generator).clamp_(1e-10, 1 - 1e-7)
            scores_BV[row] = logits_V - (-uniform_V.log()).log().to(logits_V.device)
        return scores_BV
