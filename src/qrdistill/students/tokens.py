"""Text to tokens and back, by each student's own tokenizer: the only place where labels are made.

A path becomes `prompt_ids` (exactly what generation is fed) and `response_ids` (exactly what generation
should write: they decode to the response, then end). The mask between the two is therefore right by
construction, whatever the tokenizer; every label also knows which characters of the response it stands for.
"""

from __future__ import annotations

import functools
import threading
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from qrdistill.base.chat_template import MARK, check_template, freeze_date, render
from qrdistill.base.errors import DataError, ModelError
from qrdistill.base.store import content_hash
from qrdistill.base.thoughts import begun, decoded, opened, part

FEW_CHARACTERS = 8
"""A response with fewer may come to no token at all."""
_LONGEST_NORMAL = 33  # bytes that one character comes to at most where a normaliser takes it apart (U+FDFA, NFKC)
_FEW_MORE = 16  # tokens: a beginning, an end, a space in front, line breaks around a thought
_LETTERS = "".join(map(chr, range(128)))
# What training does without a template (the prompt as it is, the answer right after it), said as one, so that chat
# endpoints can ask an exported student. A tokenizer that carries it counts as one without a template.
_PLAIN = (
    "{% for message in messages %}{% if loop.first %}BOS{% endif %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}"
    "{% elif not message['content'].endswith('\n') %}{{ '\n' }}{% endif %}{% endfor %}"
)
_PLAIN_TEMPLATES = (_PLAIN.replace("BOS", ""), _PLAIN.replace("BOS", "{{ bos_token }}"))


def weight(text: str) -> int:
    """Tokens that no tokenizer exceeds by more than `Codec.most_around`: one an ASCII character, more for the others.

    >>> weight("abc"), weight("caf\u00e9")
    (3, 37)
    """
    return len(text) if text.isascii() else len(text) + _LONGEST_NORMAL * (len(text.encode()) - len(text))


def plain_template(tokenizer: Any) -> str:
    """The chat template that says what is trained on where a tokenizer has none of its own."""
    ids = tokenizer("a")["input_ids"]
    return _PLAIN_TEMPLATES[bool(ids) and ids[0] == tokenizer.bos_token_id]


@dataclass(frozen=True)
class Encoded:
    """One path in one student's tokens.

    spans: for each response token but the closing one, the characters [start, end) of the response that
        it writes. Tokens that write parts of one character share its span.
    exact: whether the response tokens decode to exactly the response. False only for tokenizers that
        lose text (unknown characters, lower-casing).
    """

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]  # ends with the end-of-sequence token
    spans: list[tuple[int, int]]
    exact: bool = True

    @property
    def num_targets(self) -> int:
        return len(self.response_ids)

    @property
    def num_tokens(self) -> int:
        """Tokens that a forward reads: the closing token is predicted, never read."""
        return len(self.prompt_ids) + len(self.response_ids) - 1


@dataclass(frozen=True)
class Packed:
    """An `Encoded` in 12 bytes a response token and 4 a prompt token: a fifth of its own size."""

    prompt: bytes
    response: bytes
    spans: bytes
    exact: bool

    @classmethod
    def of(cls, path: Encoded) -> Packed:
        bounds = [bound for span in path.spans for bound in span]
        return cls(_int32(path.prompt_ids), _int32(path.response_ids), _int32(bounds), path.exact)

    def unpacked(self) -> Encoded:
        bounds = array("i", self.spans)
        spans = list(zip(bounds[::2], bounds[1::2], strict=True))
        return Encoded(tuple(array("i", self.prompt)), tuple(array("i", self.response)), spans, self.exact)


def _int32(numbers: Sequence[int]) -> bytes:
    return array("i", numbers).tobytes()


class Tokenized(NamedTuple):
    ids: tuple[int, ...]
    spans: list[tuple[int, int]]


class Unencodable(DataError):
    """A path that this student cannot learn from; kept out and counted, never cut silently.

    reason: `no_targets` (the tokenizer maps the response to no tokens) or `too_long` (prompt and response
    exceed the context; `num_tokens` says how long they are).
    """

    def __init__(self, message: str, *, reason: Literal["no_targets", "too_long"], num_tokens: int) -> None:
        self.reason, self.num_tokens = reason, num_tokens
        super().__init__(message)


class Codec:
    """A student's tokenizer with the conventions of training and decoding fixed in one place.

    tokenizer: a transformers tokenizer. Its padding side does not matter: nothing here pads.
        A chat template that writes today's date gets a fixed one (`date_is_frozen`).
    max_context: tokens that prompt and response may take together; None: no limit.
    stop_ids: further tokens that end a completion (a model's generation config may name some).
    """

    def __init__(
        self, tokenizer: Any, *, name: str, max_context: int | None = None, stop_ids: Sequence[int] = ()
    ) -> None:
        self.tokenizer, self.name, self.max_context = tokenizer, name, max_context
        self._lock = threading.Lock()  # a call sets switches of the tokenizer before it reads a text
        eos: int | None = tokenizer.eos_token_id
        if eos is None:
            raise ModelError(
                f"student {name}: its tokenizer has no end-of-sequence token, so it could never learn to stop; "
                "set eos_token in the folder's tokenizer_config.json"
            )
        template = getattr(tokenizer, "chat_template", None)
        self.has_template = bool(template) and template not in _PLAIN_TEMPLATES
        self.date_is_frozen = self.has_template and freeze_date(tokenizer)
        if self.has_template:
            check_template(tokenizer, who=f"student {name}")
        closing = self._template_end() if self.has_template else None
        self.end_id: int = eos if closing is None else closing
        self.stop_ids: frozenset[int] = frozenset({eos, self.end_id, *stop_ids})
        self._specials = tuple(str(token) for token in tokenizer.added_tokens_decoder.values())
        probe: list[int] = tokenizer("a")["input_ids"]
        self._appends_end = bool(probe) and probe[-1] == eos  # some post-processors close every text
        self.prompt_ids: Callable[[str], tuple[int, ...]] = functools.lru_cache(maxsize=4096)(self._prompt_ids)

    def _template_end(self) -> int | None:
        """The added token that the chat template writes right after an assistant's message."""
        messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": MARK}]
        try:
            text = render(self.tokenizer, messages, who=f"student {self.name}")
        except ModelError:
            raise
        except Exception:  # templates are the user's jinja: anything may be raised; eos is the safe end
            return None
        tail = text.partition(MARK)[2].lstrip()
        added = {str(token): id for id, token in self.tokenizer.added_tokens_decoder.items()}
        found = max((token for token in added if token and tail.startswith(token)), key=len, default=None)
        return None if found is None else added[found]

    def prompt_text(self, prompt: str) -> str:
        """What the tokenizer reads: the chat template's text around the prompt as the user's message, or the prompt.

        A message ends where its text does: the closing newline parts prompt and answer only where no template does.
        """
        if not self.has_template:
            return prompt
        try:
            message = {"role": "user", "content": prompt.removesuffix("\n")}
            return render(self.tokenizer, [message], who=f"student {self.name}", add_generation_prompt=True)
        except ModelError:
            raise
        except Exception as error:
            cause = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(
                f"student {self.name}: its chat template refuses a lone user message ({cause}); "
                "mend or remove chat_template in the model folder"
            ) from error

    def _ids(self, text: str, *, offsets: bool = False, spelled_out: bool = False) -> Any:
        """A prompt's beginning (and what may follow): special tokens as the model expects them.

        spelled_out: special tokens that stand in the text itself are read as text.
        """
        with self._lock:
            batch = self.tokenizer(
                text,
                add_special_tokens=not self.has_template,
                split_special_tokens=spelled_out,
                return_offsets_mapping=offsets,
                verbose=False,
            )
        if self._appends_end and not self.has_template:
            return {key: value[:-1] for key, value in batch.items()}
        return batch

    def _prompt_ids(self, prompt: str) -> tuple[int, ...]:
        ids = tuple(self._ids(self.prompt_text(prompt))["input_ids"])
        return ids or (self.end_id,)  # nothing to condition on: generation still needs one token

    @functools.cached_property
    def opened(self) -> tuple[str, str] | None:
        """The thought that the chat template opens at a prompt's end, and the tag that closes it."""
        return opened(self.prompt_text("a")) if self.has_template else None

    def completion(self, ids: Sequence[int]) -> str:
        """The text of what was written after a prompt: with the opening of a thought, where there is a thought."""
        return self.completed(self.decode(ids))

    def completed(self, text: str) -> str:
        """The same of a text that was written after a prompt."""
        whole = self.opened[0] + text if self.opened else text
        parts = part(whole) if self.opened else None
        return parts.answer if parts and parts.ended and not parts.thought else whole

    def encode(self, prompt: str, response: str) -> Encoded:
        """A prompt and the response to learn; where the template opened a thought, it is closed first.

        The response is tokenized as the prompt's continuation where that leaves the prompt's own tokens
        untouched and decodes to the response; by itself otherwise.

        Raises Unencodable where nothing can be learnt or the context is too short.
        """
        if self.opened:
            given = begun(response, *self.opened)
            encoded = self._encode(prompt, given.text)
            return replace(encoded, spans=[given.span(*span) for span in encoded.spans])
        return self._encode(prompt, response)

    def encode_all(self, pairs: Sequence[tuple[str, str]]) -> list[Encoded]:
        """`encode` of each prompt and response, most of them in two calls of the tokenizer. Raises Unencodable."""
        if not self._plain_decoding or self.opened:
            return [self.encode(*pair) for pair in pairs]
        backend = self.tokenizer.backend_tokenizer
        texts = {prompt: self.prompt_text(prompt) for prompt, _ in pairs}
        cut = -1 if self._appends_end and not self.has_template else None
        with self._lock:
            self._settle(backend)
            given = [*texts.values(), *(texts[prompt] + response for prompt, response in pairs)]
            read = backend.encode_batch(given, add_special_tokens=not self.has_template)
            prompts = {prompt: tuple(tokens.ids[:cut]) for prompt, tokens in zip(texts, read, strict=False)}
            read = read[len(texts) :]
            own = [tokens.ids[len(prompts[prompt]) : cut] for tokens, (prompt, _) in zip(read, pairs, strict=True)]
            said = backend.decode_batch(own, skip_special_tokens=True)
        found: list[Encoded] = []
        most = self.max_context or 1 << 40
        for (prompt, response), tokens, ids, written in zip(pairs, read, own, said, strict=True):
            asked, base, limit = prompts[prompt], len(texts[prompt]), len(response)
            start = len(asked)
            whole = start > 0 and tuple(tokens.ids[:start]) == asked
            if not (whole and ids and written == response and start + len(ids) < most):
                found.append(self.encode(prompt, response))
                continue
            offsets = tokens.offsets[start:cut]
            spans = [(min(max(a - base, 0), limit), min(max(b - base, 0), limit)) for a, b in offsets]
            found.append(Encoded(asked, (*ids, self.end_id), spans))
        return found

    @functools.cached_property
    def _plain_decoding(self) -> bool:
        """Whether the tokenizer's own decoding is what `decode` does, but for the tags of a thought."""
        from transformers import PreTrainedTokenizerFast

        kind = type(self.tokenizer)
        own = [
            getattr(kind, name, None) is not getattr(PreTrainedTokenizerFast, name) for name in ("decode", "_decode")
        ]
        return bool(self.tokenizer.is_fast) and not any(own)

    @staticmethod
    def _settle(backend: Any) -> None:
        """What other calls may have left switched on. Nothing is set without need: a tokenizer in use refuses it."""
        if backend.truncation is not None:
            backend.no_truncation()
        if backend.padding is not None:
            backend.no_padding()
        if backend.encode_special_tokens:
            backend.encode_special_tokens = False

    def _encode(self, prompt: str, response: str) -> Encoded:
        prompt_ids = self.prompt_ids(prompt)
        tried: list[Tokenized] = []
        for spelled_out in (False, True):  # a teacher may write `</s>`, and it is text
            tokenized = self._continued(prompt, prompt_ids, response, spelled_out)
            tried += [tokenized] if tokenized else []
            if tried and self.decode(tried[-1].ids) == response:
                break
        else:
            tried.append(self._alone(response))
        exact = self.decode(tried[-1].ids) == response
        ids, spans = tried[-1] if exact else tried[0]
        if not ids:
            raise Unencodable(
                f"student {self.name}: its tokenizer maps the path to no tokens: {response[:60]!r}",
                reason="no_targets",
                num_tokens=len(prompt_ids),
            )
        num_tokens = len(prompt_ids) + len(ids) + 1
        if self.max_context is not None and num_tokens > self.max_context:
            raise Unencodable(
                f"student {self.name}: question and path take {num_tokens} tokens, its context holds "
                f"{self.max_context}",
                reason="too_long",
                num_tokens=num_tokens,
            )
        return Encoded(prompt_ids, (*ids, self.end_id), spans, exact)

    @functools.cached_property
    def most_around(self) -> int | None:
        """What prompt and response may take together beside their `weight`, in tokens.

        None where nothing is known to bound it: a slow tokenizer, one that lengthens ASCII, a template that repeats the
        message.
        """
        if not self.tokenizer.is_fast:
            return None
        normalizer = self.tokenizer.backend_tokenizer.normalizer
        if normalizer and len(normalizer.normalize_str(_LETTERS * 2)) > len(_LETTERS) * 2 + 1:
            return None
        short, long = (weight(self.prompt_text(text)) - weight(text) for text in ("a", "a b " * 40 + "c"))
        tags = sum(map(weight, self.opened or ()))
        return short + tags + _FEW_MORE if short == long else None

    def count(self, pairs: Sequence[tuple[str, str]]) -> list[int]:
        """Tokens that each prompt and response take together, as `encode` makes them give or take a few.

        A sixth of the work of `encode`. 0 where only `encode` can tell: a slow tokenizer, a special token written out
        in the text, a response so short that it may come to nothing.
        """
        if not self.tokenizer.is_fast:
            return [0] * len(pairs)
        backend = self.tokenizer.backend_tokenizer
        responses = [begun(response, *self.opened).text if self.opened else response for _, response in pairs]
        prompts = list(dict.fromkeys(prompt for prompt, _ in pairs))
        texts = list(map(self.prompt_text, prompts))
        with self._lock:
            self._settle(backend)
            asked = backend.encode_batch_fast(texts, add_special_tokens=not self.has_template)
            read = backend.encode_batch_fast(responses, add_special_tokens=False)
        before = {prompt: len(tokens) for prompt, tokens in zip(prompts, asked, strict=True)}
        return [
            0 if len(response) < FEW_CHARACTERS or self._special(response) else before[prompt] + len(tokens)
            for tokens, (prompt, response) in zip(read, pairs, strict=True)
        ]

    def _special(self, text: str) -> bool:
        return any(token in text for token in self._specials)

    def fingerprint(self) -> str:
        """Of what makes a text's tokens: the tokenizer's content and its chat template."""
        content = self.tokenizer.backend_tokenizer.to_str() if self.tokenizer.is_fast else repr(self.tokenizer)
        template = getattr(self.tokenizer, "chat_template", None)
        return content_hash([content, template])[:16]

    def _continued(
        self, prompt: str, prompt_ids: tuple[int, ...], response: str, spelled_out: bool
    ) -> Tokenized | None:
        if not self.tokenizer.is_fast or (spelled_out and self.has_template):
            return None
        text = self.prompt_text(prompt)
        batch = self._ids(text + response, offsets=True, spelled_out=spelled_out)
        ids, start = tuple(batch["input_ids"]), len(prompt_ids)
        if ids[:start] != prompt_ids:
            return None
        offsets = batch["offset_mapping"][start:]
        limit, base = len(response), len(text)
        spans = [(min(max(a - base, 0), limit), min(max(b - base, 0), limit)) for a, b in offsets]
        return Tokenized(ids[start:], spans)

    def _alone(self, response: str) -> Tokenized:
        fast = self.tokenizer.is_fast
        with self._lock:
            batch = self.tokenizer(
                response,
                add_special_tokens=False,
                split_special_tokens=True,
                return_offsets_mapping=fast,
                verbose=False,
            )
        ids = tuple(batch["input_ids"])
        if fast:
            return Tokenized(ids, [(a, b) for a, b in batch["offset_mapping"]])
        ends = [min(len(self.decode(ids[: count + 1])), len(response)) for count in range(len(ids))]
        return Tokenized(ids, list(zip([0, *ends[:-1]], ends, strict=True)))

    def loses(self, ids: Sequence[int]) -> bool:
        """Whether some of the text stands there as the unknown token: no two such texts can be told apart."""
        unknown: int | None = self.tokenizer.unk_token_id
        return unknown is not None and unknown not in self.stop_ids and unknown in ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens: special ones left out but for the tags of a thought, spaces kept as they are."""
        return decoded(self.tokenizer, ids, clean_up_tokenization_spaces=False)
