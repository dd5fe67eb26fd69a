"""External-classifier guidance: its gradient by finite differences, its defining law, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from conftest import pipeline, two_segments
from scenewright.attention import Taps
from scenewright.backends.analytic import GaussianMixture
from scenewright.backends.classifier import PixelClassifier, opened
from scenewright.backends.unet import UNetModel
from scenewright.denoiser import Condition, Prediction
from scenewright.errors import UserError
from scenewright.guidance import ExternalClassifier, build
from scenewright.guidance.classifier import Classified
from scenewright.guidance.gradient import descend
from scenewright.sampling import sample
from scenewright.scene import Scene, Segment
from scenewright.schedule import Level

LEVEL = Level(0.6, 0.8, 500, 3, 10)
NAMES = {0: "unlabelled", 1: "car", 2: "grass", 3: "sky-other"}


class Bright:
    """Sees class 1 where a picture is bright and class 0 where it is dark."""

    def __call__(self, pixels: Tensor) -> Tensor:
        return torch.cat([-pixels[:, :1], pixels[:, :1]], 1)

    def class_id(self, text: str) -> int | None:
        return {"0": 0, "1": 1}.get(text)


class Seen(GaussianMixture):
    """An analytic model with a classifier."""

    def classifier(self, source: str) -> Bright:  # pyright: ignore[reportIncompatibleMethodOverride]
        return Bright()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier")
    config = SegformerConfig(
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        depths=[1, 1, 1, 1],
        decoder_hidden_size=8,
        id2label=NAMES,
        label2id={name: index for index, name in NAMES.items()},
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        SegformerForSemanticSegmentation(config).save_pretrained(path)
    return path


def analytic() -> tuple[Seen, Condition]:
    double = torch.float64
    means = torch.stack([torch.full((1, 6, 6), -0.5), torch.full((1, 6, 6), 0.5)]).to(double)
    model = Seen(means, torch.full((2,), 0.4, dtype=double), torch.full((2,), 0.5, dtype=double))
    left = np.zeros((6, 6), np.float32)
    left[:, :3] = 1
    return model, model.encode(Scene("", (Segment(left, "1"), Segment(1 - left, "0")), (6, 6)))


def test_gradient_is_a_finite_difference_on_the_exact_denoiser() -> None:
    model, condition = analytic()
    x, energy = model.noise([0]), Classified()
    _, gradient = descend(((energy, 1.0),), model.denoise, x, LEVEL, condition)
    step = 1e-4 * torch.randn_like(x)
    at = lambda x: float(energy(model.denoise(x, LEVEL, condition), Taps(), condition))  # noqa: E731
    assert gradient.abs().max() > 0
    assert float((gradient * step).sum()) == pytest.approx((at(x + step) - at(x - step)) / 2, rel=1e-4)


def test_energy_is_the_mean_cross_entropy_over_conditioned_pixels() -> None:
    model, condition = analytic()
    x0 = torch.randn(1, 1, 6, 6, dtype=torch.float64)
    prediction = Prediction(x0, x0)
    wanted = torch.ones(6, 6, dtype=torch.long)
    wanted[:, 3:] = 0
    logits = Bright()(model.pixels(x0))
    expected = torch.nn.functional.cross_entropy(logits, wanted[None])
    assert float(Classified()(prediction, Taps(), condition)) == pytest.approx(float(expected))


def test_the_picture_turns_into_what_is_asked_for() -> None:
    model, _ = analytic()
    left = np.zeros((6, 6), np.float32)
    left[:, :3] = 1
    scene = Scene("", (Segment(left, "1"), Segment(1 - left, "0")), (6, 6))
    kwargs = {"steps": 20, "seeds": list(range(8))}
    plain = sample(model, scene, **kwargs).latents
    guided = sample(model, scene, [ExternalClassifier(eta=0.2)], **kwargs).latents
    contrast = lambda z: float(z[..., :3].mean() - z[..., 3:].mean())  # noqa: E731
    assert contrast(guided) > contrast(plain) + 0.1


def test_gradient_passes_decoder_and_denoiser(folder: Path) -> None:
    model = UNetModel.wrap(pipeline("v_prediction"), dtype=torch.float32)
    condition, x = model.encode(two_segments()), model.noise([0])
    _, gradient = descend(((Classified(str(folder)), 1.0),), model.denoise, x, LEVEL, condition)
    assert gradient.abs().max() > 0
    pixels = model.pixels(x)
    assert np.array_equal(
        model.decode(x), ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    )


def test_zero_strength_is_identity_and_rows_stand_alone(folder: Path, tiny_model: UNetModel, scene: Scene) -> None:
    def drawn(method: str, seeds: list[int], **given: object) -> Tensor:
        return sample(tiny_model, scene, build(method, **given), steps=4, seeds=seeds).latents

    plain, guided = drawn("none", [0, 1]), drawn("classifier", [0, 1], network=str(folder))
    assert torch.equal(drawn("classifier", [0, 1], eta=0, network=str(folder)), plain)
    alone = drawn("classifier", [1], network=str(folder))
    assert not torch.equal(guided, plain)
    assert torch.allclose(guided[1], alone[0], atol=1e-4)


def test_texts_are_matched_with_class_names(folder: Path) -> None:
    network = opened(str(folder), torch.device("cpu"))
    texts = ["car", "a red taxi", "sky", "clouds", "Grass", "lighthouse keeper's lens"]
    assert [network.class_id(text) for text in texts] == [1, 1, 3, 3, 2, None]


def test_unknown_texts_do_not_count(folder: Path) -> None:
    model = UNetModel.wrap(pipeline(), dtype=torch.float32)
    mask = np.ones((32, 32), np.float32)
    condition = model.encode(Scene("a dog", (Segment(mask, "dog"),), (32, 32)))
    prediction, gradient = descend(((Classified(str(folder)), 1.0),), model.denoise, model.noise([0]), LEVEL, condition)
    assert float(gradient.abs().max()) == 0


def test_pixels_are_normalised_as_the_network_wants(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "imagenet"
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    settings = {"image_processor_type": "SegformerImageProcessor", "image_mean": mean, "image_std": deviation}
    (other / "preprocessor_config.json").write_text(json.dumps(settings))
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    network = opened(str(other), torch.device("cpu"))
    by_hand = (pixels / 2 + 0.5 - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(deviation).view(1, 3, 1, 1)
    plain = PixelClassifier(network.network, network.names, (0.0,) * 3, (1.0,) * 3)
    assert torch.allclose(network(pixels), plain(by_hand * 2 - 1), atol=1e-5)


@pytest.mark.parametrize("name", ["nowhere/at-all/three", "empty"])
def test_what_is_no_classifier_is_refused(name: str, tmp_path: Path, tiny_model: UNetModel) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="give a folder or hub id of a semantic segmentation network"):
        tiny_model.classifier(str(tmp_path / name) if name == "empty" else name)


def test_a_model_without_one_says_so() -> None:
    one = torch.ones(1, dtype=torch.float64)
    model = GaussianMixture(torch.zeros(1, 1, 4, 4, dtype=torch.float64), one, one)
    with pytest.raises(UserError, match="cannot guide this model"):
        model.classifier("embedded")
