"""The text side of each family: whose tokens stand where in the text states, and how prompts are encoded."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from scenewright.backends import phrases
from scenewright.denoiser import Text


class Reader(NamedTuple):
    """A tokenizer whose tokens, at most `limit` of them, stand in the text states from `start` on."""

    tokenizer: Any
    limit: int
    start: int = 0

    def count(self, text: str) -> int:
        """Tokens of a text, start and end marks included."""
        return len(self.tokenizer(text, verbose=False)["input_ids"])

    def cut(self, text: str) -> str:
        """The part of the text that it reads."""
        return phrases.cut(self.tokenizer, text, self.limit)


class TextSide(NamedTuple):
    """`readers(pipeline)` are in the order of their tokens; `encode(pipeline, readers, texts, device)` encodes prompts;
    `zeros(pipeline)` is true when a missing negative prompt is zeros instead of the encoded empty text.
    """

    readers: Callable[[Any], tuple[Reader, ...]]
    encode: Callable[[Any, tuple[Reader, ...], list[str], torch.device], Text]
    zeros: Callable[[Any], bool] = lambda pipeline: False


def _clip(pipeline: Any) -> Reader:
    longest = pipeline.text_encoder.config.max_position_embeddings
    return Reader(pipeline.tokenizer, min(pipeline.tokenizer.model_max_length, longest))


def _only_clip(pipeline: Any) -> tuple[Reader, ...]:
    return (_clip(pipeline),)


def _clip_and_t5(pipeline: Any) -> tuple[Reader, ...]:
    """SD3: the two CLIPs share a vocabulary and their places; T5, which a pipeline may lack, follows them."""
    clip = _clip(pipeline)
    if pipeline.text_encoder_3 is None:
        return (clip,)
    t5 = pipeline.tokenizer_3
    return clip, Reader(t5, min(256, t5.model_max_length), pipeline.tokenizer_max_length)


def _t5_of_flux(pipeline: Any) -> tuple[Reader, ...]:
    return (Reader(pipeline.tokenizer_2, min(512, pipeline.tokenizer_2.model_max_length)),)


def _t5_of_auraflow(pipeline: Any) -> tuple[Reader, ...]:
    return (Reader(pipeline.tokenizer, min(256, pipeline.tokenizer.model_max_length)),)


def _plain(pipeline: Any, readers: tuple[Reader, ...], texts: list[str], device: torch.device) -> Text:
    return Text(pipeline.encode_prompt(texts, device, 1, False)[0])


def _xl(pipeline: Any, readers: tuple[Reader, ...], texts: list[str], device: torch.device) -> Text:
    encoded = pipeline.encode_prompt(texts, device=device, do_classifier_free_guidance=False)
    return Text(encoded[0], encoded[2])


def _three(pipeline: Any, readers: tuple[Reader, ...], texts: list[str], device: torch.device) -> Text:
    """T5's part of the states is zeros where the pipeline has no T5."""
    short = [readers[0].cut(text) for text in texts]
    longest = readers[1].limit if len(readers) > 1 else 256
    encoded = pipeline.encode_prompt(
        short, short, texts, device=device, do_classifier_free_guidance=False, max_sequence_length=longest
    )
    return Text(encoded[0], encoded[2])


def _flux(pipeline: Any, readers: tuple[Reader, ...], texts: list[str], device: torch.device) -> Text:
    """CLIP gives the pooled vector, T5 the states."""
    short = [_clip(pipeline).cut(text) for text in texts]
    states, pooled, _ = pipeline.encode_prompt(short, texts, device=device, max_sequence_length=readers[0].limit)
    return Text(states, pooled)


def _aura(pipeline: Any, readers: tuple[Reader, ...], texts: list[str], device: torch.device) -> Text:
    encoded = pipeline.encode_prompt(
        texts, do_classifier_free_guidance=False, device=device, max_sequence_length=readers[0].limit
    )
    return Text(encoded[0])


TEXT: dict[str, TextSide] = {
    "unet": TextSide(_only_clip, _plain),
    "gligen": TextSide(_only_clip, _plain),
    "sdxl": TextSide(_only_clip, _xl, lambda pipeline: bool(pipeline.config.force_zeros_for_empty_prompt)),
    "sd3": TextSide(_clip_and_t5, _three),
    "flux": TextSide(_t5_of_flux, _flux),
    "auraflow": TextSide(_t5_of_auraflow, _aura),
}


def widest(readers: Sequence[Reader]) -> Reader:
    """The one that reads most of a caption."""
    return max(readers, key=lambda reader: reader.limit)
