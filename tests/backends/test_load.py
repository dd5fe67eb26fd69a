"""Only whole safetensors folders of the right kind are opened; everything else gets a sentence."""

import json
import shutil
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny

from scenewright.backends import load
from scenewright.errors import UserError


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no model .*nothing"):
        load(tmp_path / "nothing")
    with pytest.raises(UserError, match="there is no model 'nonsense'; give a folder, .* embedded"):
        load("nonsense")


@pytest.mark.parametrize("name", ["weights.ckpt", "weights.bin", "weights.pt", "weights.pth"])
def test_a_pickle_is_refused_unread(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"cos\nsystem\n")
    with pytest.raises(UserError, match="is a pickle, which can run code"):
        load(tmp_path / name)


def test_pickled_weights_inside_a_folder_are_refused(copy: Path) -> None:
    weights = next((copy / "unet").glob("*.safetensors"))
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(UserError, match="the unet of .* is a pickle"):
        load(copy)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_truncated_weights_file(copy: Path, part: str) -> None:
    weights = next((copy / part).glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot be read .*; download or copy its folder again"):
        load(copy)


def test_a_missing_weights_file(copy: Path) -> None:
    next((copy / "vae").glob("*.safetensors")).unlink()
    with pytest.raises(UserError, match="cannot be read"):
        load(copy)


def test_a_folder_that_is_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model_index.json"):
        load(tmp_path)


def test_a_damaged_index(copy: Path) -> None:
    (copy / "model_index.json").write_text("{")
    with pytest.raises(UserError, match="model_index.json of .* is damaged"):
        load(copy)


def test_another_kind_of_pipeline(copy: Path) -> None:
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | {"_class_name": "KolorsPipeline"}))
    with pytest.raises(UserError, match="is a KolorsPipeline, which is not supported"):
        load(copy)


def test_an_unknown_dtype(copy: Path) -> None:
    with pytest.raises(UserError, match="dtype 'float33' is not known"):
        load(copy, dtype="float33")


@pytest.mark.parametrize(
    ("key", "kind", "family"),
    [
        ("conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias", "StableDiffusionXLPipeline", "sdxl"),
        (
            "model.diffusion_model.joint_blocks.0.context_block.adaLN_modulation.1.bias",
            "StableDiffusion3Pipeline",
            "sd3",
        ),
        ("double_blocks.0.img_attn.norm.key_norm.scale", "FluxPipeline", "flux"),
    ],
)
def test_a_single_file_is_read_by_the_pipeline_of_its_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, kind: str, family: str
) -> None:
    """diffusers reads the file; its keys alone decide who is asked to."""
    asked = []
    reader = classmethod(lambda cls, path: asked.append(path) or tiny(family))
    monkeypatch.setattr(getattr(diffusers, kind), "from_single_file", reader)
    save_file({key: torch.zeros(1)}, tmp_path / "model.safetensors")
    model = load(tmp_path / "model.safetensors", device="cpu")
    assert asked == [str(tmp_path / "model.safetensors")]
    assert model.identity()["family"] == family


def test_single_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    with pytest.raises(UserError, match="there is no file .*model.safetensors"):
        load(file)
    file.write_bytes(b"nonsense")
    with pytest.raises(UserError, match="cannot be read .*; download it again or give a diffusers folder"):
        load(file)
    save_file({"weight": torch.zeros(1)}, file)
    with pytest.raises(UserError, match="holds no model whose family its keys tell"):
        load(file)


def test_a_network_of_more_channels_is_refused() -> None:
    """Such as an inpainting model's."""
    pipeline = tiny("unet")
    pipeline.unet.register_to_config(in_channels=9)
    with pytest.raises(UserError, match="takes 9 channels and its autoencoder gives 4"):
        load(pipeline)
