"""A student's tokenizer as llama.cpp has it: token for token the same, or refused.

llama.cpp knows two kinds of byte-pair encoding: `llama` joins the best-scored neighbours anywhere in a text
(sentencepiece's way); `gpt2` first splits the text by one of a list of patterns that it has by heart. For a student's
own splitter the pattern is found by trial, on hard text and on what the student is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from qrdistill.students.exports.gguf_families import NotKnown

_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LATER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# llama.cpp's name of a splitter -> its patterns, and whether an entry that is a whole piece is taken as it is
_SPLITTERS: dict[str, tuple[tuple[str, ...], bool]] = {
    "gpt-2": ((_WORDS,), False),
    "smollm": ((r"\p{N}", _WORDS), False),
    "qwen2": ((_LATER.replace("DIGITS", r"\p{N}"),), False),
    "llama-bpe": ((_LATER.replace("DIGITS", r"\p{N}{1,3}"),), True),
    "tekken": ((_CASED,), True),
}
_TOLERATED = 0.02  # of the texts: an entry that no merge leads to may be lost in a longer word without an entry
_HARD = (
    "Ann has 3 apples, 33 pears and 3,333.50 more.\n\n  She's sold 12345 of them; isn't it ODD?\n",
    "def f(x):\n    return x ** 2  # 7 - 5 = 2\n\tx = f(10)\n",
    "Grüße, 我想吃苹果 1234567 🚀🚀 ½ naïve — «да»  \n \n\n\n I'VE 'told' they'll: (a) 3/4, b. -7%",
)


@dataclass
class Vocabulary:
    """What goes into the file. otherwise: the share of the student's own texts that are cut otherwise; unlike: of hard
    ones, unlike its own."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float] | None = None
    merges: list[str] = field(default_factory=list[str])
    space_prefix: bool = False
    otherwise: float = 0.0
    unlike: float = 0.0


def vocabulary(tokenizer: Any, rows: int, texts: Sequence[str]) -> Vocabulary:
    """The tokenizer's entries, padded to the model's `rows`.

    texts: what the student is asked and taught: all but a few must be cut as the student cuts them. Raises NotKnown.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise NotKnown("its tokenizer has no tokenizer.json")
    spec: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    if spec["model"]["type"] != "BPE":
        raise NotKnown(f"its tokenizer is of the type {spec['model']['type']}, not byte-pair encoding")
    merges = [tuple(pair if isinstance(pair, list) else pair.split(" ", 1)) for pair in spec["model"]["merges"]]
    if spec["model"].get("byte_fallback"):
        return _by_scores(tokenizer, rows, spec, merges)
    return _by_pattern(tokenizer, rows, spec, merges, texts)


def _entries(tokenizer: Any, rows: int) -> Iterator[tuple[str, int | None, bool]]:
    """Text and type of every row; a type of None: an ordinary entry; then whether it was added to the vocabulary."""
    from gguf import TokenType

    text_of = {id: token for token, id in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    for id in range(max(rows, max(text_of) + 1)):  # some have holes
        if id in added:
            special = added[id].special
            yield added[id].content, TokenType.CONTROL if special else TokenType.USER_DEFINED, True
        elif id in text_of:
            yield text_of[id], None, False
        else:
            yield f"[PAD{id}]", TokenType.UNUSED, True


def _by_scores(tokenizer: Any, rows: int, spec: dict[str, Any], merges: list[tuple[str, ...]]) -> Vocabulary:
    from gguf import TokenType

    rank: dict[str, int] = {}
    for place, pair in enumerate(merges):
        rank.setdefault("".join(pair), place)
    found = Vocabulary("llama", "default", [], [], scores=[])
    assert found.scores is not None
    for text, kind, _ in _entries(tokenizer, rows):
        if kind is None:
            is_byte = len(text) == 6 and text.startswith("<0x") and text.endswith(">")
            kind = TokenType.BYTE if is_byte else TokenType.NORMAL
        elif text == tokenizer.unk_token:
            kind = TokenType.UNKNOWN
        elif kind == TokenType.USER_DEFINED:
            text = text.replace("▁", " ")
        found.tokens.append(text)
        found.types.append(int(kind))
        found.scores.append(-float(rank.get(text, len(merges))))
    cut = tokenizer.backend_tokenizer.encode("a", add_special_tokens=False).tokens
    found.space_prefix = bool(cut) and cut[0].startswith("▁")
    return found


def _by_pattern(
    tokenizer: Any, rows: int, spec: dict[str, Any], merges: list[tuple[str, ...]], texts: Sequence[str]
) -> Vocabulary:
    from gguf import TokenType

    in_bytes = "ByteLevel" in json.dumps([spec["pre_tokenizer"], spec["decoder"]])
    spelt = (lambda text: text) if in_bytes else _byte_letters
    entries = list(_entries(tokenizer, rows))
    tokens = [text if was_added else spelt(text) for text, _, was_added in entries]
    types = [int(TokenType.NORMAL if kind is None else kind) for _, kind, _ in entries]
    known = {token: id for id, token in enumerate(tokens) if types[id] == TokenType.NORMAL}
    own = [(spelt(left), spelt(right)) for left, right in merges]
    best: tuple[float, float, str, list[tuple[str, str]]] | None = None
    for pre, (patterns, takes_whole) in _SPLITTERS.items():
        joined = own
        if spec["model"].get("ignore_merges") and not takes_whole:
            joined = [*_spelling(known, own), *own]
        imitation = _imitation(known, joined, patterns, takes_whole)
        wrong, unlike = (_share_cut_otherwise(tokenizer, imitation, part) for part in (texts, _HARD))
        if best is None or (wrong, unlike) < best[:2]:
            best = (wrong, unlike, pre, joined)
    assert best is not None
    wrong, unlike, pre, joined = best
    share = wrong if texts else unlike
    if share > _TOLERATED:
        raise NotKnown(
            f"its tokenizer splits text in a way that llama.cpp does not have: {100 * share:.1f} % of the texts that "
            "were tried would reach it as other tokens"
        )
    pairs = [f"{left} {right}" for left, right in joined]
    return Vocabulary("gpt2", pre, tokens, types, merges=pairs, otherwise=wrong, unlike=unlike)


def _byte_letters(text: str) -> str:
    """Text in the letters that GPT-2's vocabulary gives each byte."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = bytes_to_unicode()
    return "".join(letters[byte] for byte in text.encode())


def _spelling(known: dict[str, int], merges: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Merges that build, letter by letter, the entries that no merge leads to.

    Pieces that begin with a space come first: inside a word none of theirs applies.
    """
    built = {left + right for left, right in merges}
    whole = [token for token in known if len(token) > 1 and token not in built]
    pairs: dict[tuple[str, str], None] = {}
    for token in sorted(whole, key=lambda token: (token[0] != "Ġ", token[0].islower(), -len(token), token)):
        for end in range(1, len(token)):
            pairs.setdefault((token[:end], token[end]))
    return list(pairs)


def _imitation(known: dict[str, int], merges: list[tuple[str, str]], patterns: Sequence[str], takes_whole: bool) -> Any:
    """What llama.cpp will do, as a tokenizer; pieces without an entry get ids beyond all that exist."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    ids = dict(known)
    for pair in merges:
        for text in (*pair, "".join(pair)):
            ids.setdefault(text, len(known) + (1 << 24) + len(ids))
    made = Tokenizer(models.BPE(vocab=ids, merges=merges, ignore_merges=takes_whole))
    splits = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in patterns]
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return made


def _share_cut_otherwise(tokenizer: Any, imitation: Any, texts: Sequence[str]) -> float:
    if not texts:
        return 0.0

    def ids(made: Any, text: str) -> list[int]:  # one by one: a batch may be padded
        return made.encode(text, add_special_tokens=False).ids

    return sum(ids(imitation, text) != ids(tokenizer.backend_tokenizer, text) for text in texts) / len(texts)
