"""A GLIGEN pipeline through the one contract equals diffusers' own, and takes every other method as well."""

# diffusers exports lazily and types its constructors loosely.
# pyright: reportPrivateImportUsage=false, reportArgumentType=false

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import pipeline, two_segments
from scenewright.attention import Taps
from scenewright.backends import load
from scenewright.backends.gligen import boxes_of, grounding
from scenewright.backends.unet import UNetModel
from scenewright.commands.evaluate import Job
from scenewright.commands.models import methods
from scenewright.denoiser import Condition, Prediction
from scenewright.errors import UserError
from scenewright.evaluation.plan import Plan
from scenewright.guidance import METHODS, ClassifierFree, Gligen, build
from scenewright.sampling import sample
from scenewright.scene import Scene, Segment
from scenewright.schedule import Level

BOXES = {"red car": [2 / 32, 4 / 32, 14 / 32, 28 / 32], "dog": [18 / 32, 18 / 32, 30 / 32, 30 / 32]}
BOX = np.zeros((32, 32), np.float32)
BOX[8:24, 4:28] = 1


def gligen(channels: int = 4, gate: float = 1.0) -> Any:
    """The tiny pipeline with grounding layers of random weights, as if trained: their gates are open."""
    from diffusers import StableDiffusionGLIGENPipeline, UNet2DConditionModel

    plain = pipeline("v_prediction")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        unet: Any = UNet2DConditionModel.from_config(plain.unet.config, attention_type="gated", in_channels=channels)
        for name, weight in unet.named_parameters():
            if "alpha_" in name:
                weight.fill_(gate)
            elif "null_" in name:
                weight.normal_()
    plain.tokenizer.model_input_names = ["input_ids", "attention_mask"]  # as CLIP's; diffusers passes on all of them
    parts = {name: part for name, part in plain.components.items() if name != "image_encoder"} | {"unet": unet.eval()}
    made = StableDiffusionGLIGENPipeline(**parts, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("gligen") / "model"
    gligen().save_pretrained(where)
    return where


@pytest.fixture(scope="module")
def model(folder: Path) -> UNetModel:
    return load(folder, device="cpu")  # type: ignore[return-value]


def stock(noise: Tensor, boxes: dict[str, list[float]], **keywords: Any) -> Tensor:
    """The latents that diffusers draws from the same noise."""
    return gligen()(
        [two_segments().caption] * len(noise),
        gligen_phrases=list(boxes),
        gligen_boxes=list(boxes.values()),
        latents=noise,
        output_type="latent",
        **keywords,
    ).images


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("steps", [7, 10])
def test_parity_with_stock_diffusers(model: UNetModel, scale: float, steps: int) -> None:
    noise = model.noise([0, 1])
    theirs = stock(noise, BOXES, num_inference_steps=steps, guidance_scale=scale)
    draws = sample(model, two_segments(), build("gligen", scale=scale), steps=steps, seeds=[0, 1])
    assert (draws.latents - theirs).abs().max() < 1e-4
    plain = sample(model, two_segments(), [ClassifierFree(scale)], steps=steps, seeds=[0, 1]).latents
    assert (draws.latents - plain).abs().max() > 0.02


def test_parity_over_the_whole_run_and_with_a_pipeline_object() -> None:
    model = load(gligen())
    theirs = stock(
        model.noise([5]), BOXES, num_inference_steps=4, guidance_scale=3.0, gligen_scheduled_sampling_beta=1.0
    )
    draws = sample(model, two_segments(), build("gligen", scale=3.0, fraction=1.0), steps=4, seeds=[5])
    assert (draws.latents - theirs).abs().max() < 1e-4


def test_without_a_fraction_the_grounding_layers_are_off(model: UNetModel) -> None:
    scene = two_segments()
    off = sample(model, scene, build("gligen", fraction=0.0), steps=4).latents
    assert torch.equal(off, sample(model, scene, build("none"), steps=4).latents)
    theirs = stock(model.noise([0]), BOXES, num_inference_steps=4, guidance_scale=4.0, gligen_scheduled_sampling_beta=0)
    assert (off - theirs).abs().max() < 1e-4


def test_closed_gates_change_nothing(scene: Scene) -> None:
    model = load(gligen(gate=0.0))
    drawn, plain = (sample(model, scene, build(name), steps=4).latents for name in ("gligen", "none"))
    torch.testing.assert_close(drawn, plain, atol=1e-5, rtol=0)


METHODS_HERE = [name for name in METHODS if "gligen" in name or name in ("boxdiff", "dense", "zest+paint")]


@pytest.mark.parametrize("method", METHODS_HERE)
def test_rows_do_not_depend_on_the_batch(model: UNetModel, method: str) -> None:
    """Other scenes, with one segment or none, make no difference; without segments every method is plain."""
    bare = Scene("a dog", (), (32, 32))
    scenes, seeds = (
        [two_segments(), Scene("a tree", (Segment(BOX, "tree"),), (32, 32)), bare, two_segments()],
        [5, 6, 7, 8],
    )
    together = sample(model, scenes, build(method), steps=4, seeds=seeds, zipped=True).latents
    for row in range(4):
        alone = sample(model, scenes[row], build(method), steps=4, seeds=[seeds[row]]).latents
        assert (alone[0] - together[row]).abs().max() < 2e-3
    plain = sample(model, bare, build("none"), steps=4, seeds=[7]).latents
    torch.testing.assert_close(together[2], plain[0], atol=1e-4, rtol=0)


def test_a_segment_of_unknown_words_is_not_placed(model: UNetModel) -> None:
    whole = two_segments()
    strange = Scene(whole.caption, (*whole.segments, Segment(BOX, "zeppelin")), (32, 32))
    condition = model.encode(strange).grounded
    known, _ = condition.parts
    assert known.condition.present.tolist() == [[True, True, False]]
    told = grounding(model.pipeline, condition)
    assert told["masks"].sum() == 2
    torch.testing.assert_close(told["boxes"][0, :2], torch.tensor(list(BOXES.values())))


def test_boxes_are_edges() -> None:
    inside = torch.zeros(2, 8, 16, dtype=torch.bool)
    inside[0, 2, 3] = inside[0, 5, 9] = inside[1, 7, 15] = True
    assert boxes_of(inside).tolist() == [[3 / 16, 2 / 8, 10 / 16, 6 / 8], [15 / 16, 7 / 8, 1, 1]]


def test_grounding_layers_are_no_layers_of_ours(model: UNetModel, scene: Scene) -> None:
    """Nothing reads or edits the attention between cells and phrases."""
    plain = load(pipeline())
    assert model.layers == plain.layers
    assert any("fuser" in name for name, _ in model.pipeline.unet.named_modules())
    seen: list[str] = []

    def edit(name: str, logits: Tensor) -> Tensor:
        seen.append(name)
        return logits.new_zeros(1, 1, 1, 1)

    taps = Taps().also(edit=edit, self_edit=edit)
    condition, x = model.encode(scene).grounded, model.noise([0])
    with torch.no_grad():
        edited = model.denoise(x, Level(0.6, 0.8, 500), condition.tapped(taps))
        torch.testing.assert_close(edited.eps, model.denoise(x, Level(0.6, 0.8, 500), condition).eps, atol=1e-5, rtol=0)
    assert set(seen) == {name for layer in model.layers for name in (layer.name, layer.itself)}


@pytest.mark.parametrize("method", ["boxdiff", "refocus"])
def test_energies_see_the_grounded_network(model: UNetModel, scene: Scene, method: str) -> None:
    """A call with a graph gets the boxes too, early in the run."""
    grounded: list[bool] = []
    real = model.denoise

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

        def encode(self, *arguments: Any) -> Condition:
            return replace(model.encode(*arguments), model=self)  # type: ignore[arg-type]

        def denoise(self, x: Tensor, level: Level, condition: Condition) -> Prediction:
            if torch.is_grad_enabled():
                grounded.append(condition.grounding)
            return real(x, level, condition)

    sample(Watched(), scene, build(f"{method}+gligen"), steps=10)  # type: ignore[arg-type]
    first = grounded.index(False)
    assert first > 0
    assert all(grounded[:first])
    assert not any(grounded[first:])


def test_a_model_without_grounding_layers_gets_a_sentence(tiny_model: UNetModel, scene: Scene) -> None:
    with pytest.raises(UserError, match="was not trained to take boxes, .* use a GLIGEN pipeline"):
        sample(tiny_model, scene, build("gligen"), steps=2)


def test_too_many_segments_get_a_sentence(model: UNetModel) -> None:
    many = Scene("a dog", tuple(Segment(BOX, "dog") for _ in range(31)), (32, 32))
    with pytest.raises(UserError, match="GLIGEN takes 30 segments at most, and a scene has 31"):
        sample(model, many, build("gligen"), steps=4)


def test_a_gligen_model_that_fills_in_is_refused() -> None:
    with pytest.raises(UserError, match="fills in a given picture"):
        load(gligen(channels=9))


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_bad_fractions_are_refused(value: float) -> None:
    with pytest.raises(UserError, match=f"fraction is {value}"):
        Gligen(value)


def test_lint_knows_what_each_model_takes(model: UNetModel, tiny_model: UNetModel) -> None:
    assert model.facts().guidance == set(METHODS)
    assert tiny_model.facts().guidance == {name for name in METHODS if "gligen" not in name} == set(methods())


def test_all_methods_are_those_that_the_model_takes(model: UNetModel, tiny_model: UNetModel) -> None:
    job = Job(Path("out"), Plan(data="folder"), "", "", "", "all", "", (0, 1))
    assert job.named(model) == tuple(METHODS)
    assert job.named(tiny_model) == tuple(name for name in METHODS if "gligen" not in name)
