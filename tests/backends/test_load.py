"""Only whole safetensors folders of the right kind are opened; everything else gets a sentence."""

import json
import shutil
from pathlib import Path

import pytest

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
