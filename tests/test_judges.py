"""The judges on tiny random networks, and the committed weights where they are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel, SegformerConfig, SegformerForSemanticSegmentation

from conftest import tokenizer
from scenewright.errors import UserError
from scenewright.judges import MODELS, Clip, Segmenter, clip, segmenter
from scenewright.world import CLASSES, Sample, render


@pytest.fixture(scope="module")
def segmenter_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judges") / "segmenter"
    torch.manual_seed(0)
    config = SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        hidden_sizes=[8, 16],
        num_attention_heads=[1, 2],
        sr_ratios=[8, 4],
        patch_sizes=[7, 3],
        strides=[4, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        id2label=dict(enumerate(CLASSES)),
    )
    SegformerForSemanticSegmentation(config).eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judges") / "clip"
    words = tokenizer()
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**tower, "vocab_size": len(words), "max_position_embeddings": 24},
        vision_config={**tower, "image_size": 128, "patch_size": 32},
        projection_dim=12,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), np.uint8)


def test_segmenter_maps_have_the_size_of_the_pictures(segmenter_folder: Path, images: np.ndarray) -> None:
    judge = Segmenter.load(segmenter_folder)
    classes = judge(images)
    assert classes.shape == (3, 128, 128)
    assert classes.dtype == np.uint8
    assert classes.max() < len(CLASSES)
    assert np.array_equal(judge(images[1:2])[0], classes[1])
    assert judge(images[:, ::2, ::4]).shape == (3, 64, 32)
    assert judge(np.repeat(images, 2, axis=1)).shape == (3, 256, 128)
    assert judge(images[:0]).shape == (0, 128, 128)


def test_segmenter_is_the_plain_network(segmenter_folder: Path, images: np.ndarray) -> None:
    network = SegformerForSemanticSegmentation.from_pretrained(segmenter_folder).eval()
    with torch.no_grad():
        logits = network(pixel_values=torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1).logits
    full = torch.nn.functional.interpolate(logits, size=(128, 128), mode="bilinear", align_corners=False)
    assert np.array_equal(Segmenter.load(segmenter_folder)(images), full.argmax(1).numpy())


def test_half_weights_are_read_as_float32(segmenter_folder: Path, tmp_path: Path, images: np.ndarray) -> None:
    SegformerForSemanticSegmentation.from_pretrained(segmenter_folder).half().save_pretrained(tmp_path)
    judge = Segmenter.load(tmp_path)
    assert {parameter.dtype for parameter in judge.network.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in judge.network.parameters())
    assert (judge(images) == Segmenter.load(segmenter_folder)(images)).mean() > 0.97


def test_clip_features(clip_folder: Path, images: np.ndarray) -> None:
    judge = Clip.load(clip_folder)
    seen, read = judge.images(images), judge.texts(["a red car", "dog", "a red car"])
    assert seen.shape == read.shape == (3, 12)
    assert seen.dtype == read.dtype == np.float32
    assert np.allclose(judge.images(images[2:]), seen[2:], atol=1e-5)
    assert np.allclose(judge.texts(["dog"])[0], read[1], atol=1e-5)
    assert np.allclose(read[0], read[2])
    assert judge.texts(["a dog " * 40]).shape == (1, 12)


def test_pictures_must_be_bytes(segmenter_folder: Path, images: np.ndarray) -> None:
    judge = Segmenter.load(segmenter_folder)
    with pytest.raises(ValueError, match="uint8 pictures"):
        judge(images.astype(np.float32))
    with pytest.raises(ValueError, match="uint8 pictures"):
        judge(images[0])


def test_missing_and_truncated_weights(segmenter_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no judge"):
        Segmenter.load(tmp_path / "nowhere")
    for path in segmenter_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-200])
    with pytest.raises(UserError, match="cannot be read"):
        Segmenter.load(tmp_path)
    weights.unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(UserError, match="cannot be read"):
        Segmenter.load(tmp_path)


@pytest.fixture(scope="module")
def world() -> list[Sample]:
    return [render(20_900_000 + i) for i in range(16)]


@pytest.mark.weights
@pytest.mark.skipif(
    not all((MODELS / name / "config.json").exists() for name in ("segmenter", "clip")), reason="no embedded judges"
)
class TestEmbeddedJudges:
    def test_segmenter_reads_renders(self, world: list[Sample]) -> None:
        assert segmenter().network.config.num_labels == len(CLASSES)
        classes = segmenter()(np.stack([sample.image for sample in world]))
        assert np.mean(classes == np.stack([sample.classes for sample in world])) > 0.8

    def test_clip_finds_the_caption_of_a_picture(self, world: list[Sample]) -> None:
        seen = clip().images(np.stack([sample.image for sample in world]))
        read = clip().texts([sample.caption for sample in world])
        seen, read = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (seen, read))
        assert np.mean((seen @ read.T).argmax(1) == np.arange(len(world))) > 0.5
