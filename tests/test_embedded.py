"""The weights that ship: small, safe to open, and the same pictures as stock diffusers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import scenewright as sw
from scenewright.backends import PRESETS, load
from scenewright.guidance import build
from scenewright.record import Record
from scenewright.sampling import sample
from scenewright.world import render
from scenewright.world.layouts import scene_of

MODELS = Path(PRESETS["embedded"]).parent
pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(not (MODELS / "embedded" / "model_index.json").exists(), reason="embedded weights are absent"),
]


@pytest.fixture(scope="module")
def model():
    return load("embedded")


@pytest.fixture(scope="module")
def scene():
    return scene_of(render(20_000_004))


def test_sizes_and_kinds_of_files():
    """The base models together stay under 28 MB, everything that ships under 56 MB, every file under 16 MB."""
    weights = list(MODELS.rglob("*.safetensors"))
    base = [path for path in weights if path.relative_to(MODELS).parts[0] in ("embedded", "segmenter", "clip")]
    assert sum(path.stat().st_size for path in base) < 28e6
    assert sum(path.stat().st_size for path in weights) < 56e6
    assert max(path.stat().st_size for path in weights) < 16e6
    allowed = {".safetensors", ".json", ".md", ".py"}
    assert {path.suffix for path in MODELS.rglob("*") if path.is_file() and "__pycache__" not in path.parts} <= allowed
    for name in ("embedded", "segmenter", "clip"):
        assert (MODELS / name / "README.md").exists()


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_without_layout_guidance_it_is_stock_diffusers(model, scene, scale):
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    stock: Any = StableDiffusionPipeline.from_pretrained(PRESETS["embedded"]).to(dtype=torch.float32)
    stock.set_progress_bar_config(disable=True)
    noise = model.noise([5])
    theirs = stock(
        scene.caption, latents=noise, num_inference_steps=50, guidance_scale=scale, output_type="latent"
    ).images
    ours = sample(model, scene, build("none", scale=scale), steps=50, seeds=[5]).latents
    assert (ours - theirs).abs().max() <= 1e-4


def test_a_seed_is_the_same_alone_and_in_a_batch_of_eight(model, scene):
    guidance = build("none")
    alone = sample(model, scene, guidance, steps=6, seeds=[3])
    batch = sample(model, scene, guidance, steps=6, seeds=range(8))
    assert np.abs(alone.images[0].astype(int) - batch.images[3]).max() <= 1


@pytest.mark.parametrize("method", ["none", "zest+paint"])
def test_replay_is_bit_exact(scene, method):
    picture = sw.generate(scene, guidance=method, steps=6, seed=11)[0]
    again = sw.replay(Record.model_validate_json(picture.record.model_dump_json()))
    assert np.array_equal(np.asarray(picture.image), np.asarray(again.image))
