"""Grounding: whose tokens, whose cells, and a loss that is 0 exactly when attention stays inside."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor

from scenewright.training import diffusion
from scenewright.training.grounding import MOST, cell_masks, outside_share, phrase_tokens
from scenewright.training.words import tokenizer
from scenewright.world import render
from scenewright.world.cache import words_of


def test_longer_phrases_claim_their_words_first():
    split = tokenizer()
    ids = split("a dog and a black dog on grass")["input_ids"]
    said = [split(text, add_special_tokens=False)["input_ids"] for text in ("dog", "black dog", "grass", "red car")]
    found = phrase_tokens(ids, said)
    assert found.shape == (MOST, len(ids))
    words = np.array(["<bos>", *["a", "dog", "and", "a", "black", "dog", "on", "grass"], "<eos>"])
    assert [list(words[row > 0]) for row in found[:4]] == [["dog"], ["black", "dog"], ["grass"], []]
    assert not found[4:].any()


def test_every_caption_grounds_every_phrase():
    split = tokenizer()
    for seed in range(12):
        words = words_of(render(seed, 32))
        said = [split(p["text"], add_special_tokens=False)["input_ids"] for p in words["phrases"]]
        for caption in words["captions"]:
            found = phrase_tokens(split(caption)["input_ids"], said)
            assert (found[: len(said)].sum(1) > 0).all()
            assert (found.max(0) <= 1).all()


def test_cells_of_a_scene_cover_it_once():
    samples = [render(seed) for seed in range(8)]
    words = [words_of(sample) for sample in samples]
    cells = cell_masks(np.stack([s.classes for s in samples]), np.stack([s.instances for s in samples]), words)
    assert cells.shape == (8, MOST, 16, 16)
    for row, scene in zip(cells, words, strict=True):
        texts = [phrase["text"] for phrase in scene["phrases"]]
        if len(set(texts)) == len(texts):
            assert np.allclose(row.astype(int).sum(0), 255, atol=len(texts))


def test_phrases_that_read_the_same_share_their_cells():
    classes = np.full((1, 32, 32), 3, np.uint8)
    instances = np.zeros((1, 32, 32), np.uint8)
    instances[0, :, :16], instances[0, :, 16:] = 1, 2
    words = [{"phrases": [{"text": "dog", "instance": i, "class_id": 3} for i in (1, 2)]}]
    cells = cell_masks(classes, instances, words)
    assert (cells[0, :2] == 255).all()


def test_loss_is_the_squared_share_outside():
    masks = torch.zeros(1, MOST, 16, 16)
    masks[0, 0, :, :8] = 1
    groups = torch.zeros(1, MOST, 5)
    groups[0, 0, 2] = 1
    shares = torch.zeros(1, 256, 5)
    columns = torch.arange(256) % 16
    shares[0, columns < 8, 2] = 0.4
    assert outside_share([shares], groups, masks) == 0
    shares[0, columns >= 8, 2] = 0.2
    assert outside_share([shares], groups, masks).item() == pytest.approx((0.2 / 0.6) ** 2)
    coarse = torch.zeros(1, 64, 5)
    coarse[0, torch.arange(64) % 8 >= 4, 2] = 0.3
    assert outside_share([shares, coarse], groups, masks).item() == pytest.approx(((0.2 / 0.6) ** 2 + 1) / 2)


def test_plain_attention_is_the_stock_one_and_shows_its_shares():
    torch.manual_seed(0)
    model = diffusion.TextToLatent().eval()
    x, t, ids = torch.randn(2, 16, 16, 16), torch.tensor([10, 900]), torch.randint(4, 50, (2, 64))
    model.unet.set_attn_processor(AttnProcessor())
    with torch.no_grad():
        stock, nothing = model(x, t, ids)
        diffusion.quick_attention(model)
        ours, seen = model(x, t, ids)
    assert not nothing
    assert (stock - ours).abs().max() < 1e-5
    assert sorted({tuple(shares.shape) for shares in seen}) == [(2, 64, 64), (2, 256, 64)]
    assert all(torch.allclose(shares.sum(-1), torch.ones(()), atol=1e-5) for shares in seen)


def test_grounding_reaches_the_queries():
    model: Any = diffusion.TextToLatent()
    diffusion.quick_attention(model)
    seen = model(torch.randn(1, 16, 16, 16), torch.tensor([500]), torch.randint(4, 50, (1, 64)))[1]
    groups, masks = torch.zeros(1, MOST, 64), torch.zeros(1, MOST, 16, 16)
    groups[0, 0, 5], masks[0, 0, :4] = 1, 1
    outside_share(seen, groups, masks).backward()
    assert model.unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_q.weight.grad.abs().sum() > 0
