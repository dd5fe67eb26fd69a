"""Every family through the public path: parity with its stock pipeline, what is read, what is left behind."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import BUILDERS, CLIP_TOKENS, stock_latents, tiny

from conftest import SIDE, scheduler, two_segments
from scenewright import api, backends
from scenewright.backends.mmdit import TransformerModel
from scenewright.backends.pipelines import PipelineModel
from scenewright.errors import UserError
from scenewright.guidance import ClassifierFree, build
from scenewright.sampling import sample
from scenewright.scene import Scene, Segment

load: Any = backends.load  # each kind of model has more than the protocol

NEW = [family for family in BUILDERS if family != "unet"]
JOINT = ["sd3", "flux", "auraflow"]

# diffusers turns tensors into arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every family saved as a diffusers folder."""
    root = tmp_path_factory.mktemp("families")
    for family in BUILDERS:
        tiny(family).save_pretrained(root / family)
    return {family: root / family for family in BUILDERS}


@pytest.fixture(scope="session")
def opened(folders: dict[str, Path]) -> Callable[[str], Any]:
    """Each family loaded from its folder, once."""
    models: dict[str, Any] = {}

    def of(family: str) -> Any:
        return models.setdefault(family, models.get(family) or load(folders[family], device="cpu"))

    return of


@pytest.mark.parametrize(("scale", "steps"), [(1.0, 50), (5.0, 5)])
@pytest.mark.parametrize("family", NEW)
def test_parity_with_stock_diffusers(opened: Callable, family: str, scale: float, steps: int) -> None:
    """For the same noise, from the folder, with and without classifier-free guidance."""
    model, scene = opened(family), two_segments()
    steps = min(steps, 15) if family == "sdxl" else steps  # U-Nets are slow; test_unet.py goes to 30
    theirs = stock_latents(family, tiny(family), model.noise([0, 1]), scale, steps)
    draws = sample(model, scene, [ClassifierFree(scale)], steps=steps, seeds=[0, 1])
    assert (draws.latents - theirs).abs().max() < 1e-4
    vae = model.pipeline.vae
    with torch.no_grad():
        raw = vae.decode(theirs / vae.config.scaling_factor + (vae.config.shift_factor or 0)).sample
    pictures = model.pipeline.image_processor.postprocess(raw, output_type="np")
    assert np.abs(draws.images / 255 - pictures).max() < 1e-2  # half a grey level of rounding, and the latents' 1e-4


@pytest.mark.parametrize("family", NEW)
def test_a_negative_prompt_is_the_empty_half(opened: Callable, family: str) -> None:
    """Also that SDXL's missing negative prompt is zeros and a given one is not."""
    model, scene = opened(family), two_segments()
    negative = "a green house"
    theirs = stock_latents(family, tiny(family), model.noise([4]), 3.0, 4, negative_prompt=[negative])
    ours = sample(model, scene, [ClassifierFree(3.0)], steps=4, seeds=[4], negative=negative).latents
    assert (ours - theirs).abs().max() < 1e-4


def test_flux_levels_follow_the_size_of_the_picture(opened: Callable) -> None:
    model, scene = opened("flux"), two_segments()
    noise = model.noise([2], (48, 64))
    theirs = stock_latents("flux", tiny("flux"), noise, 1.0, 5)
    assert (sample(model, scene, steps=5, seeds=[2], size=(48, 64)).latents - theirs).abs().max() < 1e-4


def test_flux_without_distillation_is_told_no_strength() -> None:
    model, scene = load(tiny("flux", distilled=False)), two_segments()
    theirs = stock_latents("flux", tiny("flux", distilled=False), model.noise([2]), 2.0, 5)
    assert (sample(model, scene, [ClassifierFree(2.0)], steps=5, seeds=[2]).latents - theirs).abs().max() < 1e-4


def test_the_distilled_strength_is_a_parameter(opened: Callable) -> None:
    model, scene = opened("flux"), two_segments()
    theirs = stock_latents("flux", tiny("flux"), model.noise([2]), 1.0, 5, guidance_scale=1.5)
    guidance = build("none", **{"cfg.scale": 1, "cfg.distilled": "1.5"})
    assert (sample(model, scene, guidance, steps=5, seeds=[2]).latents - theirs).abs().max() < 1e-4
    for family in ("unet", "sd3"):
        with pytest.raises(UserError, match="was not distilled with its guidance"):
            sample(opened(family), scene, guidance, steps=1)


def test_sd3_draws_without_t5() -> None:
    """Then CLIP alone reads, and its limit is the model's."""
    model, scene = load(tiny("sd3", t5_too=False)), two_segments()
    stock = tiny("sd3", t5_too=False)
    theirs = stock_latents("sd3", stock, model.noise([2]), 3.0, 4, max_sequence_length=256)
    assert (sample(model, scene, [ClassifierFree(3.0)], steps=4, seeds=[2]).latents - theirs).abs().max() < 1e-4
    assert model.facts().token_limit == CLIP_TOKENS


def tokens_of(model: PipelineModel, caption: str, *phrases: str) -> list[list[int]]:
    segments = tuple(Segment(np.ones((4, 4), np.float32), phrase) for phrase in phrases)
    groups = model.encode(Scene(caption, segments, (4, 4))).groups[0]
    return [group.nonzero().flatten().tolist() for group in groups]


def test_phrases_stand_where_each_tokenizer_puts_them(opened: Callable) -> None:
    """CLIP: <start> a red t re e</w>, T5: a red ▁ t r e e; SD3 sees both, one after the other."""
    clip, t5 = [3, 4, 5], [2, 3, 4, 5, 6]
    caption = "a red tree, a dog"
    assert tokens_of(opened("sdxl"), caption, "tree") == [clip]
    assert tokens_of(opened("flux"), caption, "tree") == [t5]
    assert tokens_of(opened("auraflow"), caption, "tree") == [t5]
    assert tokens_of(opened("sd3"), caption, "tree") == [[*clip, *(CLIP_TOKENS + i for i in t5)]]


@pytest.mark.parametrize("family", NEW)
def test_repeated_words_are_told_apart(opened: Callable, family: str) -> None:
    first, second, both = tokens_of(opened(family), "a dog and a dog", "dog", "dog", "a dog and a dog")
    assert first
    assert max(first) < max(second)
    assert not set(first) & set(second)
    assert set(first) | set(second) <= set(both)


def test_a_phrase_past_clips_limit_is_read_by_t5_alone(opened: Callable) -> None:
    caption = "a dog and " * 8 + "a red car"
    (found,) = tokens_of(opened("sd3"), caption, "red car")
    assert found == [CLIP_TOKENS + 25, CLIP_TOKENS + 26]


@pytest.mark.parametrize("family", NEW)
def test_a_phrase_past_every_limit_is_said(opened: Callable, family: str) -> None:
    model, caption = opened(family), "a dog and " * 16 + "a red car"
    with pytest.raises(UserError, match=rf"segment 1 \('red car'\) lies past .* {model.facts().token_limit} tokens"):
        tokens_of(model, caption, "red car")
    from scenewright.lint import lint

    scene = Scene(caption, (Segment(np.ones((4, 4), np.float32), "red car"),), (4, 4))
    assert "phrase-past-limit" in {finding.code for finding in lint(scene, model.facts())}


def test_a_size_that_cuts_a_token_is_refused(opened: Callable) -> None:
    with pytest.raises(UserError, match="36x32 is not possible; choose multiples of 8"):
        sample(opened("sd3"), two_segments(), steps=1, size=(32, 36))


@pytest.mark.parametrize("family", NEW)
def test_latents_and_pictures_of_a_family(opened: Callable, family: str) -> None:
    """Encoding undoes the scaling that decoding does, as far as the autoencoder can."""
    model = opened(family)
    images = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    latents = model.encode_image(images)
    vae = model.pipeline.vae
    with torch.no_grad():
        pixels = torch.tensor(images).permute(0, 3, 1, 2) / 127.5 - 1
        raw = vae.encode(pixels).latent_dist.mode()
    torch.testing.assert_close(latents, (raw - (vae.config.shift_factor or 0)) * vae.config.scaling_factor)
    assert model.decode(latents).shape == images.shape


@pytest.mark.parametrize("family", list(BUILDERS))
def test_a_pipeline_is_given_back_as_it_was_found(family: str) -> None:
    pipeline = tiny(family)
    network = pipeline.unet if family in ("unet", "sdxl") else pipeline.transformer
    network.train()

    def state() -> tuple:
        wanted = {name: p.requires_grad for name, p in network.named_parameters()}
        weights = {
            f"{part}.{key}": value.clone()
            for part, module in pipeline.components.items()
            if isinstance(module, torch.nn.Module)
            for key, value in module.state_dict().items()
        }
        return weights, dict(network.attn_processors), wanted, network.training

    weights, *before = state()
    model = load(pipeline)
    sample(model, two_segments(), build("zest+paint"), steps=2, seeds=[0, 1])
    during = state()[0]
    assert during.keys() == weights.keys()
    model.release()
    after, *others = state()
    assert others == before
    assert all(torch.equal(after[key], value) for key, value in weights.items())


@pytest.mark.parametrize("family", NEW)
def test_wrapping_twice_keeps_one_processor(family: str) -> None:
    pipeline = tiny(family)
    once = sample(load(pipeline), two_segments(), build("zest"), steps=2).latents
    again = sample(load(pipeline), two_segments(), build("zest"), steps=2).latents
    torch.testing.assert_close(once, again)
    network = pipeline.unet if family == "sdxl" else pipeline.transformer
    assert not any(hasattr(processor.stock, "stock") for processor in network.attn_processors.values())


@pytest.mark.parametrize("family", NEW)
def test_replay_draws_the_same_pixels(folders: dict[str, Path], family: str) -> None:
    (drawn,) = api.generate(two_segments(), str(folders[family]), "zest+paint", steps=2, seed=7, cfg_scale=2.0)
    again = api.replay(drawn.record)
    assert again.record.pixels == drawn.record.pixels
    assert drawn.record.model.family == family
    assert api.differences(drawn.record, again.record) == []


def test_defaults_are_the_familys(folders: dict[str, Path]) -> None:
    model, source = api.opened(folders["sdxl"])
    record = api.plan(model, source, two_segments(), api.Settings("zest"))[0][0]
    assert record.parameters["zest.eta"] == 0.09
    assert record.parameters["zest.decay"] == "linear"
    assert record.parameters["cfg.scale"] == 5.0
    given = api.Settings("zest", parameters={"cfg.scale": 2.0})
    assert api.plan(model, source, two_segments(), given)[0][0].parameters["cfg.scale"] == 2.0


def test_a_refused_method_is_said_before_anything_is_drawn(opened: Callable) -> None:
    with pytest.raises(UserError, match="'dense' does not work on this model: it edits cross- and self-attention"):
        api.plan(opened("flux"), "", two_segments(), api.Settings("dense"))


@pytest.mark.parametrize("family", NEW)
def test_half_precision_draws(family: str) -> None:
    model = load(tiny(family), dtype="bfloat16")
    draws = sample(model, two_segments(), build("zest+paint"), steps=2)
    assert draws.latents.dtype == torch.float32
    assert model.identity()["dtype"] == "bfloat16"


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2"])
def test_a_pipeline_without_a_part_is_refused(part: str) -> None:
    pipeline = tiny("flux")
    setattr(pipeline, part, None)
    with pytest.raises(UserError, match=f"this FluxPipeline has no {part};"):
        load(pipeline)


def test_a_transformer_wants_a_flow_scheduler() -> None:
    pipeline = tiny("sd3")
    pipeline.scheduler = scheduler("epsilon")
    with pytest.raises(UserError, match="DDIMScheduler lays no levels of flow matching"):
        load(pipeline)


def test_identity_is_over_all_weights() -> None:
    pipeline = tiny("sd3")
    before = load(pipeline).identity()
    assert before["family"] == "sd3"
    with torch.no_grad():
        next(pipeline.text_encoder_3.parameters()).add_(1)
    assert load(pipeline).identity()["sha256"] != before["sha256"]


def test_models_can_be_copied_with_another_name(opened: Callable) -> None:
    model: TransformerModel = opened("sd3")
    assert dataclasses.replace(model, name="mine").identity()["name"] == "mine"
