"""The embedded tokenizer, and the captions the embedded models are trained on.

One token per word: a word outside the world is `<unk>`, so that "which words does the model not know" has an exact
answer. Captions are varied in training (phrasing, synonyms, unknown words, parts of the scene) because users do.
"""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from ..world.compose import SKIES, WALLS
from ..world.vocabulary import CLASSES, COLOURS, SYNONYMS

LENGTH = 64
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
# transformers takes <eos> id 2 for an old convention and pools at the highest id instead, so CLIP has its own order.
SPECIAL_CLIP = ("<pad>", "<bos>", "<unk>", "<eos>")
_PLAIN = [
    "a",
    "an",
    "the",
    "of",
    "on",
    "in",
    "at",
    "under",
    "with",
    "near",
    "and",
    "front",
    "standing",
    "picture",
    "behind",
    ",",
    ".",
    "two",
    "big",
    "small",
]
_SYNONYMS: dict[str, list[str]] = {}
for _word, _name in SYNONYMS.items():
    if _word.isalpha() and _word not in COLOURS:
        _SYNONYMS.setdefault(_name, []).append(_word)


def vocabulary(special: tuple[str, ...] = SPECIAL) -> dict[str, int]:
    """Every word of the world, in a fixed order, behind the special tokens."""
    words = [
        *_PLAIN,
        *COLOURS,
        *WALLS,
        *SKIES,
        *(w for c in CLASSES[1:] for w in c.split()),
        *(w for ws in _SYNONYMS.values() for w in ws),
    ]
    return {word: index for index, word in enumerate(dict.fromkeys([*special, *words]))}


def tokenizer(special: tuple[str, ...] = SPECIAL) -> PreTrainedTokenizerFast:
    """Lower-cases, splits at spaces and punctuation, frames with <bos> and <eos>, pads to 64."""
    words = vocabulary(special)
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        "<bos> $A <eos>", special_tokens=[(t, words[t]) for t in ("<bos>", "<eos>")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=LENGTH,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
    )


def said(scene: dict, rng: np.random.Generator) -> str:
    """One training caption of a cached scene: phrasing, synonyms, unknown words, or only a part of what is there."""
    text = scene["captions"][int(rng.integers(len(scene["captions"])))]
    phrases = [p["text"] for p in scene["phrases"]]
    roll = rng.random()
    if roll < 0.10:  # region prompts name one thing
        text = ("a " if rng.random() < 0.5 else "") + phrases[int(rng.integers(len(phrases)))]
    elif roll < 0.16:  # a layout's missing phrases are appended to its caption
        text += ", " + ", ".join(phrases[i] for i in rng.permutation(len(phrases))[: int(rng.integers(1, 4))])
    if rng.random() < 0.18:
        text = _with_synonym(text, rng)
    if rng.random() < 0.12:
        text = _with_unknown(text, rng)
    return text


def varied(text: str, rng: np.random.Generator) -> str:
    """A segment's text as one or another user would write it."""
    if rng.random() < 0.3:
        text = f"a {text}"
    return _with_synonym(text, rng) if rng.random() < 0.18 else text


def _with_synonym(text: str, rng: np.random.Generator) -> str:
    present = [name for name in _SYNONYMS if name in text]
    if not present:
        return text
    name = present[int(rng.integers(len(present)))]
    return text.replace(name, _SYNONYMS[name][int(rng.integers(len(_SYNONYMS[name])))])


def _with_unknown(text: str, rng: np.random.Generator) -> str:
    words = text.split()
    for _ in range(int(rng.integers(1, 4))):
        words.insert(int(rng.integers(len(words) + 1)), "zzz")
    return " ".join(words)


def write_tokenizer(folder: Path) -> None:
    """The tokenizer of the CLIP judge as a transformers folder."""
    tokenizer(SPECIAL_CLIP).save_pretrained(folder)
