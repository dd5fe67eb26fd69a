"""A diffusers pipeline through the one contract equals the pipeline itself."""

# diffusers exports lazily and types its constructors loosely.
# pyright: reportPrivateImportUsage=false, reportArgumentType=false

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

from conftest import pipeline, two_segments
from scenewright.backends import load
from scenewright.backends.unet import UNetModel
from scenewright.denoiser import Condition
from scenewright.errors import UserError
from scenewright.guidance import ClassifierFree
from scenewright.sampling import sample
from scenewright.scene import Scene, Segment

STOCK = {"ddim": DDIMScheduler, "euler": EulerDiscreteScheduler, "dpm++2m": DPMSolverMultistepScheduler}


# diffusers turns tensors into arrays in a way that numpy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("solver", list(STOCK))
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_parity_with_stock_diffusers(prediction: str, solver: str, scale: float) -> None:
    scene = two_segments()
    model = load(pipeline(prediction))
    stock = pipeline(prediction)
    stock.scheduler = STOCK[solver].from_config(stock.scheduler.config)
    noise = model.noise([0, 1])
    keywords = {"prompt": [scene.caption] * 2, "latents": noise, "num_inference_steps": 7, "guidance_scale": scale}
    theirs = stock(**keywords, output_type="latent").images
    draws = sample(model, scene, [ClassifierFree(scale)], steps=7, seeds=[0, 1], solver=solver)
    assert (draws.latents - theirs).abs().max() < 1e-4
    pictures = stock(**keywords, output_type="np").images
    assert np.abs(draws.images / 255 - pictures).max() < 1e-2  # half a grey level of rounding, and the latents' 1e-4


@pytest.mark.parametrize("spacing", ["trailing", "linspace", "leading"])
@pytest.mark.parametrize("steps", [3, 7, 30])
def test_parity_with_ddim_at_any_spacing_and_step_count(spacing: str, steps: int) -> None:
    """Also where diffusers steps to a level that is not the next one."""
    stock, scene = pipeline("v_prediction"), two_segments()
    stock.scheduler = DDIMScheduler.from_config(stock.scheduler.config, timestep_spacing=spacing)
    model = load(stock)
    keywords = {"latents": model.noise([3]), "num_inference_steps": steps, "guidance_scale": 3.0}
    theirs = stock(scene.caption, **keywords, output_type="latent").images
    assert (sample(model, scene, [ClassifierFree(3.0)], steps=steps, seeds=[3]).latents - theirs).abs().max() < 1e-4


def test_parity_with_noise_in_the_steps() -> None:
    """eta = 1 with the generators diffusers would use: the same noise, step by step."""
    model, stock, scene = load(pipeline()), pipeline(), two_segments()
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    theirs = stock(
        [scene.caption] * 2,
        num_inference_steps=6,
        guidance_scale=1.0,
        eta=1.0,
        generator=generators,
        output_type="latent",
    ).images
    assert (sample(model, scene, steps=6, seeds=[0, 1], eta=1.0).latents - theirs).abs().max() < 1e-4


def test_negative_prompt_is_the_empty_half() -> None:
    model, stock, scene = load(pipeline()), pipeline(), two_segments()
    noise = model.noise([4])
    theirs = stock(
        scene.caption,
        negative_prompt="a green tree",
        latents=noise,
        num_inference_steps=5,
        guidance_scale=3.0,
        output_type="latent",
    ).images
    ours = sample(model, scene, [ClassifierFree(3.0)], steps=5, seeds=[4], negative="a green tree").latents
    assert (ours - theirs).abs().max() < 1e-4


def test_a_folder_and_its_pipeline_agree(tiny_model: UNetModel, scene: Scene) -> None:
    ours = sample(load(pipeline()), scene, steps=3).latents
    torch.testing.assert_close(sample(tiny_model, scene, steps=3).latents, ours, atol=1e-5, rtol=0)


def test_encode_finds_phrases_and_appends_missing_ones(tiny_model: UNetModel) -> None:
    mask = np.ones((4, 4), np.float32)
    scene = Scene("A dog on grass.", (Segment(mask, "blue house"), Segment(mask, "grass", 0.5)), (4, 4))
    condition = tiny_model.encode(scene)
    assert condition.prompts == ("A dog on grass, blue house",)
    assert condition.appended == (("blue house",),)
    tokens = [group.nonzero().flatten().tolist() for group in condition.groups[0]]
    assert tokens == [[6, 7], [4]]  # <bos> a dog on grass , blue house
    assert condition.strengths.tolist() == [[1.0, 0.5]]
    assert condition.masks.shape == (1, 2, 32, 32)


def test_segments_without_words_or_pixels_are_not_present(tiny_model: UNetModel) -> None:
    full, empty = np.ones((4, 4), np.float32), np.zeros((4, 4), np.float32)
    scene = Scene("a dog", (Segment(full, ""), Segment(empty, "dog"), Segment(full, "dog")), (4, 4))
    assert tiny_model.encode(scene).present.tolist() == [[False, False, True]]


def test_segments_of_unknown_words_alone_are_not_present(tiny_model: UNetModel) -> None:
    """They share one token, so they would pull the same attention to two places."""
    left = np.zeros((32, 32), np.float32)
    left[:, :16] = 1
    segments = [Segment(left, "a zebra"), Segment(1 - left, "zeppelin"), Segment(left, "zebra dog")]
    assert tiny_model.encode(Scene("a dog", tuple(segments), (32, 32))).present.tolist() == [[False, False, True]]


def test_a_phrase_past_the_token_limit_is_said(tiny_model: UNetModel) -> None:
    scene = Scene("a dog and " * 10 + "a tree", (Segment(np.ones((4, 4), np.float32), "tree"),), (4, 4))
    with pytest.raises(UserError, match=r"segment 1 \('tree'\) lies past .* 24 tokens"):
        tiny_model.encode(scene)


def test_a_long_caption_is_cut_as_diffusers_cuts_it(tiny_model: UNetModel) -> None:
    caption = "a dog and " * 10
    condition = tiny_model.encode(Scene(caption, (), (4, 4)))
    stock = pipeline()
    theirs = stock.encode_prompt(caption, "cpu", 1, False)[0]
    torch.testing.assert_close(condition.text, theirs)
    assert len(condition.prompts[0]) < len(caption)


def test_layers_tell_part_and_resolution(tiny_model: UNetModel) -> None:
    found = [(layer.part, layer.side) for layer in tiny_model.layers]
    assert found == [("encoder", 8), ("encoder", 4), ("mid", 4), *[("decoder", 4)] * 2, *[("decoder", 8)] * 2]
    assert [layer.grid((9, 6)) for layer in tiny_model.layers[:2]] == [(9, 6), (5, 3)]


def test_words_give_the_states_of_their_own_tokens(tiny_model: UNetModel) -> None:
    dog, house = tiny_model.words(["dog", "blue house"])
    assert dog.shape == (1, 16)
    assert house.shape == (2, 16)
    torch.testing.assert_close(dog[0], tiny_model.prompts(["dog"]).states[0, 1])


@pytest.mark.parametrize("solver", list(STOCK))
def test_a_seed_is_the_same_alone_and_in_a_batch_of_eight(tiny_model: UNetModel, scene: Scene, solver: str) -> None:
    """Tolerance 1e-4 on latents of up to 15: batched matrix products may add in another order."""
    together = sample(tiny_model, scene, [ClassifierFree(4.0)], steps=6, seeds=range(8), solver=solver)
    for seed in (0, 6):
        alone = sample(tiny_model, scene, [ClassifierFree(4.0)], steps=6, seeds=[seed], solver=solver)
        assert (alone.latents[0] - together.latents[seed]).abs().max() < 1e-4
        assert np.abs(alone.images[0].astype(int) - together.images[seed].astype(int)).max() <= 1


def test_pictures_of_another_size(tiny_model: UNetModel, scene: Scene) -> None:
    draws = sample(tiny_model, scene, steps=2, size=(24, 40), record_attention="all")
    assert draws.images.shape == (1, 24, 40, 3)
    assert draws.attention is not None
    assert draws.attention.shape == (2, 1, 2, 6, 10)
    with pytest.raises(UserError, match="multiples of 4"):
        sample(tiny_model, scene, steps=2, size=(33, 32))


def test_images_and_latents_have_matching_shapes(tiny_model: UNetModel) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    latents = tiny_model.encode_image(images)
    assert latents.shape == (9, 4, 8, 8)
    decoded = tiny_model.decode(latents)
    assert decoded.shape == images.shape
    assert decoded.dtype == np.uint8


def test_half_precision_draws(scene: Scene) -> None:
    from scenewright.guidance import build

    model = load(pipeline(), dtype=torch.bfloat16)
    draws = sample(model, scene, build("zest+paint"), steps=2)
    assert draws.latents.dtype == torch.float32
    assert model.identity()["dtype"] == "bfloat16"


def test_identity_changes_with_the_weights() -> None:
    first, pipe = load(pipeline()), pipeline()
    assert first.identity() == load(pipe).identity()
    with torch.no_grad():
        next(pipe.unet.parameters()).add_(1)
    changed = load(pipe)
    assert changed.identity()["sha256"] != first.identity()["sha256"]


def test_wrapping_twice_keeps_one_processor(scene: Scene) -> None:
    pipe = pipeline()
    once = sample(load(pipe), scene, steps=2).latents
    again = sample(load(pipe), scene, steps=2).latents
    torch.testing.assert_close(once, again)
    assert not hasattr(next(iter(pipe.unet.attn_processors.values())).stock, "stock")


def test_conditions_are_rows(tiny_model: UNetModel, scene: Scene) -> None:
    one: Condition = tiny_model.encode(scene)
    many = one.rows([0, 0, 0])
    assert len(many) == 3
    assert many.texts == (("red car", "dog"),) * 3
    both = one.halves
    assert both.present.tolist() == [[True, True], [False, False]]
    torch.testing.assert_close(both.text[1], one.empty[0])
    assert [part.numbers for part in both.parts] == [[0], [1]]


def test_other_pipelines_are_refused() -> None:
    thing: Any = object()
    with pytest.raises(UserError, match="object is not supported"):
        load(thing)


def test_facts_for_lint(tiny_model: UNetModel) -> None:
    facts = tiny_model.facts()
    assert (facts.cell_fraction, facts.token_limit) == (1 / 8, 24)
    assert facts.count_tokens("a red car") == 5  # with <bos> and <eos>, like the limit
    assert facts.unknown_words("a purple car") == ["purple"]
    assert "zest+paint" in facts.guidance
