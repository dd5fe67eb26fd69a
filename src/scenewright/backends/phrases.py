"""Where a segment's phrase stands in the caption, in characters and then in tokens."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from scenewright.errors import UserError

Span = tuple[int, int]
_ARTICLES = {"a", "an", "the"}


class Prompt(NamedTuple):
    """The text to encode, the character spans of each segment's phrase in it, and the phrases that had to be
    appended.
    """

    text: str
    spans: tuple[tuple[Span, ...], ...]
    appended: tuple[str, ...]


def compose(caption: str, phrases: Sequence[str]) -> Prompt:
    """Append the phrases the caption lacks (", phrase") and find them all, ignoring case, at word boundaries.

    The n-th segment with the same text takes its n-th occurrence if there are as many, else all of them share all
    occurrences. An occurrence inside a longer phrase ("car" in "red car") is only used when there is no other.
    An empty phrase stands nowhere.
    """
    phrases = [" ".join(phrase.split()) for phrase in phrases]
    missing = tuple(dict.fromkeys(phrase for phrase in phrases if phrase and not _occurrences(caption, phrase)))
    text = ", ".join([caption.rstrip(" .,;\n"), *missing]).lstrip(", ") if missing else caption
    return Prompt(text, _spans(text, phrases), missing)


def _spans(text: str, phrases: Sequence[str]) -> tuple[tuple[Span, ...], ...]:
    found: dict[str, list[Span]] = {}
    for phrase in sorted({phrase.lower() for phrase in phrases}, key=lambda p: (-len(p), p)):
        taken = [span for spans in found.values() for span in spans]
        everywhere = _occurrences(text, phrase)
        free = [span for span in everywhere if not any(_overlap(span, other) for other in taken)]
        found[phrase] = free or everywhere
    spans, seen = [], {}
    counts = {phrase: [p.lower() for p in phrases].count(phrase) for phrase in found}
    for phrase in (phrase.lower() for phrase in phrases):
        number = seen.get(phrase, 0)
        seen[phrase] = number + 1
        enough = len(found[phrase]) >= counts[phrase]
        spans.append((found[phrase][number],) if enough else tuple(found[phrase]))
    return tuple(spans)


def _occurrences(text: str, phrase: str) -> list[Span]:
    if not phrase:
        return []
    pattern = r"(?<!\w)" + r"\s+".join(map(re.escape, phrase.split())) + r"(?!\w)"
    return [match.span() for match in re.finditer(pattern, text, re.IGNORECASE)]


def offsets(tokenizer: Any, text: str, limit: int) -> list[Span]:
    """Character span of each of the text's tokens, cut at `limit` tokens; special tokens have an empty span."""
    if not tokenizer.is_fast:
        raise UserError(
            "this model's tokenizer cannot tell where its tokens stand; load its fast (tokenizer.json) form."
        )
    encoded = tokenizer(text, return_offsets_mapping=True, truncation=True, max_length=limit)
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return [(0, 0) if token in special else (int(span[0]), int(span[1])) for token, span in pairs]


def tokens(places: Sequence[Span], spans: Sequence[Span]) -> tuple[int, ...]:
    """Indices of the tokens that overlap any of the character spans."""
    return tuple(i for i, place in enumerate(places) if any(_overlap(place, span) for span in spans))


def cut(tokenizer: Any, text: str, limit: int) -> str:
    """The part of the text that fits into `limit` tokens; encoding it gives the same tokens as truncation."""
    if len(tokenizer(text, verbose=False)["input_ids"]) <= limit:
        return text
    return text[: max(end for _, end in offsets(tokenizer, text, limit))]


def unknown_words(tokenizer: Any, text: str) -> list[str]:
    """Words that the tokenizer maps to its unknown token, once each."""
    if tokenizer.unk_token_id is None or not tokenizer.is_fast:
        return []
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False, verbose=False)
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    words = [text[start:end] for token, (start, end) in pairs if token == tokenizer.unk_token_id]
    return list(dict.fromkeys(word for word in words if word.strip()))


def says_something(tokenizer: Any, text: str) -> bool:
    """Whether the text has a word besides articles that the tokenizer knows.

    All unknown words share one token, so segments of nothing else would pull the same attention to different places.
    """
    unknown = {word.lower() for word in unknown_words(tokenizer, text)}
    if not unknown:
        return bool(text.strip())
    return any(word not in unknown | _ARTICLES for word in re.findall(r"\w+", text.lower()))


def _overlap(a: Span, b: Span) -> bool:
    return a[0] < b[1] and b[0] < a[1]
