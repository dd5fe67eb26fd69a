"""SpaText: the widened network answers as before, the prior against its exact answer, maps, and guidance by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from conftest import pipeline, tokenizer, two_segments
from scenewright.backends.analytic import GaussianMixture
from scenewright.backends.spatext import Prior, SpaTextNetwork, opened, sized, widened
from scenewright.backends.unet import UNetModel
from scenewright.denoiser import Condition, Prediction
from scenewright.errors import UserError
from scenewright.guidance import MultiScale, SpaText, build
from scenewright.sampling import sample
from scenewright.scene import Scene
from scenewright.schedule import Level

LEVEL = Level(0.6, 0.8, 500, 3, 10)
SIZE = 4


def network(model: UNetModel) -> SpaTextNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = CLIPTextConfig(
            vocab_size=40,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=24,
            projection_dim=SIZE,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
        return SpaTextNetwork(
            widened(model.pipeline.unet, SIZE), CLIPTextModelWithProjection(config).eval(), tokenizer(), Prior(SIZE, 16)
        )


def saved(own: SpaTextNetwork, folder: Path) -> Path:
    own.text.save_pretrained(folder / "text")
    own.tokenizer.save_pretrained(folder / "text")
    save_file(own.prior.state_dict(), folder / "prior.safetensors")
    changed = {name: value for name, value in own.unet.state_dict().items() if name.startswith("conv_in")}
    save_file(changed, folder / "unet.safetensors")
    (folder / "config.json").write_text(f'{{"embedding": {SIZE}}}')
    return folder


@pytest.fixture
def model() -> UNetModel:
    return UNetModel.wrap(pipeline("v_prediction"), dtype=torch.float32)


@pytest.fixture
def folder(model: UNetModel, tmp_path: Path) -> Path:
    own = replace(network(model), prior=Prior(SIZE))
    with torch.no_grad():
        own.unet.conv_in.weight[:, 4:] = 0.3 * torch.randn(own.unet.conv_in.weight[:, 4:].shape)
    return saved(own, tmp_path)


def test_a_widened_network_answers_as_before(model: UNetModel) -> None:
    wide, x = widened(model.pipeline.unet, SIZE), torch.randn(2, 4, 8, 8)
    text = model.prompts(["a red car", "grass"]).states
    before = model.pipeline.unet(x, torch.tensor(300), encoder_hidden_states=text, return_dict=False)[0]
    after = wide(
        torch.cat([x, torch.randn(2, SIZE, 8, 8)], 1), torch.tensor(300), encoder_hidden_states=text, return_dict=False
    )[0]
    assert torch.allclose(before, after, atol=1e-6)
    assert model.pipeline.unet.conv_in.in_channels == 4


def test_a_prior_that_knows_the_answer_draws_it() -> None:
    class Exact(Prior):
        def forward(self, noisy: Tensor, angle: Tensor, text: Tensor) -> Tensor:
            return 2 * text

    text = sized(torch.randn(3, SIZE))
    assert torch.allclose(Exact(SIZE).draw(text, torch.randn(3, SIZE)), text, atol=1e-5)
    assert torch.allclose(sized(torch.randn(5, SIZE)).norm(dim=1), torch.tensor(SIZE**0.5))


def test_a_segment_is_filled_with_its_vector(model: UNetModel) -> None:
    own, scene = network(model), two_segments()
    condition = replace(model.encode(scene), seeds=(7,))
    vectors, shares = own.embeddings(condition.texts[0], 7), condition.masks_at((8, 8))[0]
    expected = torch.einsum("khw,kd->dhw", shares, vectors) / shares.sum(0).clamp_min(1)
    assert torch.allclose(own.map(condition, (8, 8))[0], expected, atol=1e-6)
    assert not own.map(condition.unconditional(), (8, 8)).any()
    assert not torch.equal(own.embeddings(condition.texts[0], 8), vectors)


def test_zero_new_weights_are_identity_and_others_are_not(model: UNetModel, folder: Path, scene: Scene) -> None:
    def drawn(method: str, seeds: list[int], **given: object) -> Tensor:
        return sample(model, scene, build(method, **given), steps=4, seeds=seeds).latents

    plain, guided = drawn("none", [0, 1]), drawn("spatext", [0, 1], weights=str(folder))
    assert not torch.allclose(plain, guided, atol=1e-2)
    assert torch.allclose(drawn("spatext", [1], weights=str(folder))[0], guided[1], atol=1e-4)
    own = opened(str(folder), model.pipeline.unet)
    with torch.no_grad():
        own.unet.conv_in.weight[:, 4:] = 0
    assert torch.allclose(drawn("spatext", [0, 1], weights=str(folder)), plain, atol=1e-4)


def test_scales_by_hand() -> None:
    one = torch.ones(1, dtype=torch.float64)
    model = GaussianMixture(torch.zeros(1, 1, 32, 32, dtype=torch.float64), one, one)
    scene = two_segments()
    condition = model.encode(replace(scene, caption="0"))
    x = torch.zeros(1, 1, 32, 32, dtype=torch.float64)

    def counted(x: Tensor, level: Level, condition: Condition) -> Prediction:
        said = torch.tensor([float(bool(p)) for p in condition.prompts])
        drawn = condition.present.any(1).double()
        value = (1 + 10 * said + 100 * drawn).view(-1, 1, 1, 1).expand_as(x)
        return Prediction(value, 2 * value)

    answer = MultiScale(2.0, 3.0)(counted, x, LEVEL, condition)
    assert torch.allclose(answer.x0, torch.full_like(x, 1 + 2 * 10 + 3 * 100))
    assert torch.allclose(answer.eps, 2 * answer.x0)


def test_one_scale_for_both_is_not_classifier_free_guidance(model: UNetModel, folder: Path, scene: Scene) -> None:
    kwargs = {"steps": 3, "seeds": [0]}
    single = sample(model, scene, build("spatext", weights=str(folder)), **kwargs).latents
    multi = sample(model, scene, build("spatext-multi", weights=str(folder)), **kwargs).latents
    text = sample(
        model, scene, build("spatext-multi", weights=str(folder), map_scale=0, text_scale=4), **kwargs
    ).latents
    none = sample(model, scene, build("none"), **kwargs).latents
    assert not torch.allclose(single, multi, atol=1e-3)
    assert torch.allclose(text, none, atol=1e-4)  # no map anywhere: its own text states, as the plain model reads them


@pytest.mark.parametrize("broken", ["config.json", "prior.safetensors", "unet.safetensors", "text"])
def test_missing_and_damaged_weights_are_refused(model: UNetModel, folder: Path, broken: str) -> None:
    path = folder / broken
    if path.is_dir():
        for file in path.glob("*.safetensors"):
            file.write_bytes(file.read_bytes()[:100])
    else:
        path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(UserError, match="train spatext"):
        opened(str(folder), model.pipeline.unet)


def test_weights_of_another_model_are_refused(folder: Path, model: UNetModel) -> None:
    save_file({"conv_in.weight": torch.zeros(3, 3)}, folder / "unet.safetensors")
    with pytest.raises(UserError, match="belong to another model"):
        opened(str(folder), model.pipeline.unet)


def test_a_model_without_one_says_so() -> None:
    one = torch.ones(1, dtype=torch.float64)
    model = GaussianMixture(torch.zeros(1, 1, 4, 4, dtype=torch.float64), one, one)
    with pytest.raises(UserError, match="no SpaText network"):
        SpaText()(model.denoise, torch.zeros(1, 1, 4, 4), LEVEL, model.encode(Scene("0", (), (4, 4))))


def test_crops_hold_the_segment_alone() -> None:
    from scenewright.training.spatext import cut

    image = np.full((40, 40, 3), 200, np.uint8)
    region = np.zeros((40, 40), bool)
    region[10:20, 5:25] = True  # 10 rows, 20 columns: a square of 20 with grey above and below
    piece = cut(image, region)
    assert piece.shape == (64, 64, 3)
    assert (piece[24:40] == 200).all()
    assert (piece[:14] == 127).all()
    assert (piece[50:] == 127).all()
