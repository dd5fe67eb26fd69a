"""The embedded models' recipes: exact parts exactly, the rest by one step on real renders."""

from typing import Any

import numpy as np
import pytest
import torch

from scenewright.training import autoencoder, diffusion, judges, recognition
from scenewright.training.fit import Draw
from scenewright.training.grounding import cell_masks
from scenewright.training.words import SPECIAL_CLIP, said, tokenizer, vocabulary
from scenewright.world import CLASS_ID, CLASSES, render
from scenewright.world.cache import words_of
from scenewright.world.vocabulary import COLOURS


@pytest.fixture(scope="module")
def world():
    return [render(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def images(world):
    return np.stack([sample.image for sample in world])


@pytest.fixture(scope="module")
def solved(images):
    model = autoencoder.build()
    autoencoder.solve_encoder(model, images)
    return model


def draw(batch: int = 4) -> Draw:
    return Draw(3, batch, torch.device("cpu"), np.random.default_rng(0), torch.Generator().manual_seed(0))


def test_the_encoder_is_principal_components_of_patches(solved, images):
    latents = autoencoder.encode(solved, images).permute(0, 2, 3, 1).flatten(0, 2).double()
    patches = images.reshape(6, 16, 8, 16, 8, 3).swapaxes(2, 3).reshape(-1, 192) / 255.0
    values, vectors = np.linalg.eigh(np.cov(patches.T))
    expected = (patches - patches.mean(0)) @ vectors[:, ::-1][:, : autoencoder.CHANNELS]
    expected *= (values[::-1] / values[-1])[: autoencoder.CHANNELS] ** (autoencoder.EVENNESS / 2)
    expected /= np.sqrt(values[::-1][: autoencoder.CHANNELS])
    same = np.abs((latents.numpy() * expected).sum(0)) / (np.linalg.norm(expected, axis=0) ** 2)  # signs are free
    assert np.allclose(same, 1, atol=1e-3)
    assert np.allclose(latents.mean(0), 0, atol=1e-4)
    assert latents.std(0)[0] == pytest.approx(1, abs=1e-3)


def test_tokenizer_knows_the_world_and_only_the_world(world):
    split = tokenizer()
    for sample in world:
        for caption in sample.captions:
            assert split.unk_token_id not in split(caption)["input_ids"]
    assert split("a pterodactyl")["input_ids"].count(split.unk_token_id) == 1
    assert split("A RED Car")["input_ids"] == split("a red car")["input_ids"]
    assert len(split("a cat", padding="max_length")["input_ids"]) == 64


def test_clip_pools_at_the_end_of_the_text():
    # transformers pools at the highest id when <eos> has id 2, which would ignore most of the caption.
    split = tokenizer(SPECIAL_CLIP)
    model: Any = judges.build_clip().eval()
    assert split.eos_token_id == model.config.text_config.eos_token_id != 2

    def features(text):
        tokens = split([text], padding="max_length", return_tensors="pt")
        with torch.no_grad():
            out = model.get_text_features(tokens["input_ids"], tokens["attention_mask"])
        return out if isinstance(out, torch.Tensor) else out.pooler_output

    assert not torch.allclose(features("a traffic light near a cat"), features("a traffic light near a dog"), atol=1e-5)


def test_training_captions_vary_and_stay_within_the_vocabulary(world):
    rng = np.random.default_rng(0)
    scene = words_of(world[0])
    texts = {said(scene, rng) for _ in range(60)}
    assert len(texts) > 10
    known = set(vocabulary()) | {"zzz"}
    assert all(set(t.replace(",", " ,").split()) <= known for t in texts)


def test_every_loss_is_finite_and_reaches_its_model(images, world, solved):
    words = [words_of(sample) for sample in world]
    segmenter, clip, joint = judges.build_segmenter(), judges.build_clip(), diffusion.TextToLatent()
    diffusion.quick_attention(joint)
    classes, instances = (np.stack([getattr(s, name) for s in world]) for name in ("classes", "instances"))
    coarse = classes[:, 2::4, 2::4]
    cells, weights = cell_masks(classes, instances, words), diffusion.object_weight(coarse)
    paints = recognition.colour_maps(instances[:, 2::4, 2::4], words)
    latents = diffusion.Latents(torch.randn(12, 16, 16, 16), weights, cells, words, coarse, paints)
    reader = recognition.Reader()
    pairs = [
        (solved.decoder, autoencoder.loss(solved, images)),
        (segmenter, judges.segmenter_loss(segmenter, images, classes)),
        (clip, judges.clip_loss(clip, images, words)),
        (reader, recognition.reader_loss(reader, latents.z, coarse, paints)),
        (joint, diffusion.loss(joint, latents, recognition.Reader().requires_grad_(False))),
    ]
    for model, terms in pairs:
        total = torch.stack(list(terms(draw()).values())).sum()
        total.backward()
        assert torch.isfinite(total)
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        assert sum(float(g.abs().sum()) for g in grads) > 0


def test_a_stretched_line_is_an_interpolated_one():
    lines = torch.randn(2, 3, 32, 32)
    grow = judges.stretch(32, 128)
    whole = torch.nn.functional.interpolate(lines, size=128, mode="bilinear", align_corners=False)
    assert torch.allclose(grow[1::2] @ lines @ grow[::2].T, whole[..., 1::2, ::2], atol=1e-5)


def test_mirrored_latents_have_mirrored_masks():
    cells = np.random.default_rng(0).integers(0, 256, (2, 8, 16, 16), dtype=np.uint8)
    data = diffusion.Latents(torch.zeros(4, 16, 16, 16), torch.ones(4, 16, 16), cells, [], np.zeros(0), np.zeros(0))
    plain, mirrored = data.masks(np.array([2, 3]))
    assert torch.equal(plain, torch.from_numpy(cells[1]).float() / 255)
    assert torch.equal(mirrored, plain.flip(-1))


def test_object_cells_weigh_more_and_the_mean_is_one():
    classes = np.full((1, 32, 32), CLASS_ID["sky"])
    classes[0, :8, :16] = CLASS_ID["car"]
    plain, mirrored = diffusion.object_weight(classes)
    assert torch.equal(mirrored, plain.flip(-1))
    assert plain.mean().item() == pytest.approx(1)
    assert plain[0, 0].item() == pytest.approx(4 * plain[15, 15].item())


def test_what_is_recognised_costs_nothing_and_objects_cost_most():
    classes = torch.full((1, 32, 32), CLASS_ID["sky"])
    classes[0, :16] = CLASS_ID["car"]
    right = torch.nn.functional.one_hot(classes, len(CLASSES)).permute(0, 3, 1, 2) * 50.0
    no_sky, no_car = right.clone(), right.clone()
    no_sky[:, :, 16:] = no_car[:, :, :16] = 0
    costs = [recognition.unlike(logits, classes).item() for logits in (right, no_sky, no_car)]
    assert costs[0] == pytest.approx(0, abs=1e-6)
    assert costs[2] == pytest.approx(3 * costs[1])


def test_what_is_read_right_is_let_be_when_focused():
    classes = torch.full((1, 32, 32), CLASS_ID["sky"])
    near = torch.nn.functional.one_hot(classes, len(CLASSES)).permute(0, 3, 1, 2) * 8.0
    wrong = near.flip(1)
    eased, kept = (recognition.unlike(x, classes, focus=2) / recognition.unlike(x, classes) for x in (near, wrong))
    assert eased.item() < 1e-3
    assert kept.item() == pytest.approx(1, abs=0.01)


def test_only_objects_named_with_a_colour_have_one(world):
    words = [words_of(sample) for sample in world]
    maps = recognition.colour_maps(np.stack([sample.instances for sample in world]), words)
    names = list(COLOURS)
    for sample, colours in zip(world, maps, strict=True):
        for phrase in sample.phrases:
            if phrase.instance:
                told = names.index(phrase.colour) if phrase.colour else recognition.COLOURLESS
                assert set(colours[sample.mask(phrase)].tolist()) <= {told}
        assert set(colours[sample.instances == 0].tolist()) <= {recognition.COLOURLESS}


def test_a_wrong_colour_costs_and_no_colour_costs_nothing():
    colours = torch.full((3, 32, 32), recognition.COLOURLESS)
    colours[:2, :4] = 2
    logits = torch.zeros(3, len(COLOURS), 32, 32)
    logits[0, 2], logits[1:, 5] = 50.0, 50.0
    right, wrong, untold = recognition.discoloured(logits, colours, focus=2).tolist()
    assert right == pytest.approx(0, abs=1e-6)
    assert wrong == pytest.approx(50)
    assert untold == 0


def test_noised_latents_come_clean_again():
    bars, z = diffusion.scheduler().alphas_cumprod, torch.randn(4, 16, 16, 16)
    batch = diffusion.noised(z, bars, draw())
    assert torch.allclose(batch.clean(batch.v), z, atol=1e-5)
    assert batch.t.tolist() == sorted(batch.t.tolist())


def test_classes_are_mirrored_as_latents_are():
    classes = np.random.default_rng(0).integers(0, 41, (2, 32, 32), dtype=np.uint8)
    plain, flipped = recognition.mirrored(classes, np.array([2, 3]))
    assert torch.equal(plain, torch.from_numpy(classes[1]).long())
    assert torch.equal(flipped, plain.flip(-1))


def test_the_schedule_ends_in_pure_noise_and_spends_its_steps_where_something_shows():
    bars = diffusion.scheduler().alphas_cumprod
    assert bars[-1] < 1e-4
    assert bars[0] > 0.999
    assert bars[500] == pytest.approx(0.5, abs=0.02)
