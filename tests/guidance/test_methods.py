"""Each method's laws, on the tiny random pipeline."""

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import two_segments
from scenewright.attention import Taps
from scenewright.backends.analytic import GaussianMixture
from scenewright.backends.unet import UNetModel
from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.errors import UserError
from scenewright.guidance import METHODS, AttentionLoss, ClassifierFree, MultiDiffusion, PaintWithWords, Zest, build
from scenewright.guidance.zest import _widest
from scenewright.sampling import During, sample
from scenewright.scene import Scene, Segment
from scenewright.schedule import Level

LEVEL = Level(0.6, 0.8, 500, 3, 10)
FULL = np.ones((32, 32), np.float32)
PLAIN = [name for name in METHODS if "gligen" not in name and "spatext" not in name]  # these have weights of their own


def latents(model: UNetModel, scene: Scene, *guidance: object, steps: int = 4, **keywords: object) -> Tensor:
    return sample(model, scene, guidance, steps=steps, **keywords).latents  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "guidance",
    [Zest(eta=0.0), PaintWithWords(0.0), ClassifierFree(1.0), During(Zest(eta=3.0), 1.0), During(Zest(), steps=0)],
    ids=["zest", "paint", "cfg", "window", "no steps"],
)
def test_zero_strength_is_identity(tiny_model: UNetModel, scene: Scene, guidance: object) -> None:
    assert torch.equal(latents(tiny_model, scene, guidance), latents(tiny_model, scene))


def test_a_zero_strength_segment_is_not_painted(tiny_model: UNetModel) -> None:
    scene = Scene("a dog", (Segment(FULL, "dog", 0.0),), (32, 32))
    painted = latents(tiny_model, scene, PaintWithWords(2.0))
    torch.testing.assert_close(painted, latents(tiny_model, scene), atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", PLAIN)
def test_without_segments_every_method_is_plain(tiny_model: UNetModel, method: str) -> None:
    scene = Scene("a dog", (), (32, 32))
    plain = latents(tiny_model, scene, *build("none"))
    torch.testing.assert_close(latents(tiny_model, scene, *build(method)), plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("bootstrapping", [0.0, 0.5])
def test_multidiffusion_with_one_full_mask_and_the_same_words_is_plain(
    tiny_model: UNetModel, bootstrapping: float
) -> None:
    scene = Scene("a red car", (Segment(FULL, "a red car"),), (32, 32))
    guidance = [ClassifierFree(3.0), MultiDiffusion(bootstrapping)]
    plain = latents(tiny_model, scene, ClassifierFree(3.0))
    torch.testing.assert_close(latents(tiny_model, scene, *guidance), plain, atol=1e-5, rtol=0)


def test_multidiffusion_draws_each_region_from_its_own_words() -> None:
    """On an exact mixture whose components are flat black and flat white, each side follows its own prompt."""
    means = torch.stack([torch.full((1, 4, 4), value, dtype=torch.float64) for value in (-1.0, 1.0)])
    half = torch.full((2,), 0.5, dtype=torch.float64)
    model = GaussianMixture(means, 0.1 * torch.ones(2, dtype=torch.float64), half)
    left = np.zeros((4, 4), np.float32)
    left[:, :2] = 1
    scene = Scene("1", (Segment(left, "0"),), (4, 4))
    for bootstrapping in (0.0, 0.4):
        drawn = sample(model, scene, [MultiDiffusion(bootstrapping)], steps=40, seeds=range(4)).latents
        assert drawn[..., :2].max() < -0.4
        assert drawn[..., 2:].min() > 0.4


def test_overlapping_regions_are_averaged() -> None:
    one = torch.ones(2, dtype=torch.float64)
    means = torch.stack([torch.full((1, 2, 2), value, dtype=torch.float64) for value in (-1.0, 3.0)])
    model = GaussianMixture(means, 0.2 * one, 0.5 * one)
    mask = np.ones((2, 2), np.float32)
    condition = model.encode(Scene("", (Segment(mask, "0"), Segment(mask, "1")), (2, 2)))
    x = torch.randn(1, 1, 2, 2, dtype=torch.float64)
    fused = MultiDiffusion(0.0)(model.denoise, x, LEVEL, condition)
    parts = [model.denoise(x, LEVEL, model.encode(Scene(text, (), (2, 2)))).x0 for text in ("0", "1")]
    torch.testing.assert_close(fused.x0, (parts[0] + parts[1]) / 2)


@pytest.mark.parametrize("method", PLAIN)
def test_a_seed_is_the_same_alone_and_among_other_scenes(tiny_model: UNetModel, method: str) -> None:
    """Tolerance 2e-3 on latents of up to 15: normalised gradients amplify the rounding of batched products."""
    first, second = two_segments(), Scene("a tree on grass", (Segment(FULL, "grass"),), (32, 32))
    scenes, seeds = [first, second, Scene("sky", (), (32, 32)), first], [5, 6, 7, 8]
    options = {"zest.absent": "house,dog"} if "zest" in method else {}
    together = sample(tiny_model, scenes, build(method, **options), steps=4, seeds=seeds, zipped=True)
    for row in (0, 1, 3):
        alone = sample(tiny_model, scenes[row], build(method, **options), steps=4, seeds=[seeds[row]])
        assert (alone.latents[0] - together.latents[row]).abs().max() < 2e-3


@pytest.mark.parametrize(
    "energy",
    [Zest(eta=0.5), Zest(eta=0.5, loss="release", resize="logits"), Zest(eta=0.5, layers="all", granularity="layer")],
    ids=["paper", "release", "layer"],
)
def test_zest_lowers_its_loss(tiny_model: UNetModel, scene: Scene, energy: Zest) -> None:
    """The attention read at the last step fits the masks better with guidance than without."""
    losses = []

    def watch(denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        taps = Taps(record=frozenset(layer.name for layer in tiny_model.layers))
        prediction = denoise(x, level, condition.tapped(taps))
        if level.index == level.count - 1:
            losses.append(float(energy.energy(prediction, taps, condition).mean()))
        return prediction

    for guidance in ([watch], [During(energy, 0.0, 0.8), watch]):
        sample(tiny_model, scene, guidance, steps=10, seeds=range(3))
    assert losses[1] < losses[0]


def test_zest_takes_one_graph_call_and_no_second_conditional_one(tiny_model: UNetModel, scene: Scene) -> None:
    """A guided step: the conditional half once with a graph, the empty half once without. Other steps: both at once."""
    calls = []

    def count(denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        calls.append((level.index, len(x), torch.is_grad_enabled()))
        return denoise(x, level, condition)

    sample(tiny_model, scene, [count, *build("zest", fraction=0.5)], steps=2, seeds=[0, 1])
    assert calls == [(0, 2, True), (0, 2, False), (1, 4, False)]


def test_zest_with_noise_in_its_guided_steps(tiny_model: UNetModel, scene: Scene) -> None:
    plain, noisy = (latents(tiny_model, scene, *build("zest", ddim_eta=eta)) for eta in ("none", "0.5"))
    assert not torch.allclose(plain, noisy)
    with pytest.raises(UserError, match="ddim_eta"):
        latents(tiny_model, scene, *build("zest", ddim_eta=0.5), solver="dpm++2m")


def test_absent_words_compete_in_the_softmax(tiny_model: UNetModel, scene: Scene) -> None:
    """Words of the prompt are left out; others take a share of the attention away."""
    condition = tiny_model.encode(scene)

    def maps(*absent: str) -> Tensor:
        from scenewright.guidance.gradient import absent_states

        taps = Taps(record=frozenset(layer.name for layer in tiny_model.layers))
        taps.extra = absent_states(condition, absent) if absent else None
        with torch.no_grad():
            tiny_model.denoise(tiny_model.noise([0]), LEVEL, condition.tapped(taps))
        layer = tiny_model.layers[0]
        return AttentionLoss(absent=absent)._maps(taps, layer, condition, (8, 8), (8, 8))

    torch.testing.assert_close(maps("dog", "red"), maps())
    assert (maps("house", "dog") < maps()).all()


def test_paint_raises_attention_inside_and_only_there(tiny_model: UNetModel, scene: Scene) -> None:
    def read(*guidance: object) -> np.ndarray:
        draws = sample(tiny_model, scene, guidance, steps=2, record_attention="encoder&res8")  # type: ignore[arg-type]
        assert draws.attention is not None
        return draws.attention[0, 0, 0].astype(float)

    inside = tiny_model.encode(scene).masks_at((8, 8))[0, 0].numpy() > 0
    for rule in ("max", "std", "sigma"):
        gain = read(PaintWithWords(0.5, rule)) - read()
        assert (gain[inside] > 0).all()
    outside = ~inside & (tiny_model.encode(scene).masks_at((8, 8))[0, 1].numpy() == 0)
    np.testing.assert_allclose(gain[outside], 0, atol=1e-3)


def test_paint_follows_the_published_formula(tiny_model: UNetModel, scene: Scene) -> None:
    """softmax((Q K^T + w' log(1 + sigma_t) max(Q K^T) M) / sqrt(d)), from unscaled logits."""
    name = tiny_model.layers[0].name
    condition = tiny_model.encode(scene)
    taps = Taps(record=frozenset({name}))
    with torch.no_grad():
        PaintWithWords(0.4)(tiny_model.denoise, tiny_model.noise([0]), LEVEL, condition.tapped(taps))
    scale = dict(tiny_model.pipeline.unet.named_modules())[name].scale
    raw = taps.logits(name) / scale
    m = (condition.masks_at((8, 8)).flatten(2).transpose(1, 2) @ condition.groups)[:, None]
    expected = (raw + 0.4 * np.log(1 + 0.8 / 0.6) * raw.max() * m) * scale
    torch.testing.assert_close(taps.logits(name, biased=True), expected, atol=1e-4, rtol=1e-4)


def test_paint_leaves_the_empty_half_alone(tiny_model: UNetModel, scene: Scene) -> None:
    condition = tiny_model.encode(scene).halves
    x = tiny_model.noise([0, 1])
    with torch.no_grad():
        painted = PaintWithWords(2.0)(tiny_model.denoise, x, LEVEL, condition)
        plain = tiny_model.denoise(x, LEVEL, condition)
    torch.testing.assert_close(painted.eps[1], plain.eps[1], atol=1e-5, rtol=0)
    assert (painted.eps[0] - plain.eps[0]).abs().max() > 1e-3


def test_guidance_that_reads_attention_is_refused_without_it() -> None:
    one = torch.ones(1)
    model = GaussianMixture(torch.zeros(1, 1, 2, 2), one, one)
    scene = Scene("", (Segment(np.ones((2, 2), np.float32), "0"),), (2, 2))
    for method in ("zest", "paint"):
        with pytest.raises(UserError, match="cross-attention cannot be read"):
            sample(model, scene, build(method), steps=2)


def test_classifier_free_is_exact_on_a_mixture() -> None:
    one = torch.ones(2, dtype=torch.float64)
    means = torch.tensor([-1.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
    model = GaussianMixture(means, 0.3 * one, 0.5 * one)
    x = torch.randn(5, 1, 1, 1, dtype=torch.float64)
    condition = model.encode(Scene("1", (), (1, 1))).rows([0] * 5)
    guided = ClassifierFree(3.0)(model.denoise, x, LEVEL, condition)
    with_text, without = model.denoise(x, LEVEL, condition), model.denoise(x, LEVEL, condition.unconditional())
    torch.testing.assert_close(guided.eps, without.eps + 3 * (with_text.eps - without.eps))
    torch.testing.assert_close(0.6 * guided.x0 + 0.8 * guided.eps, x)


@pytest.mark.parametrize("method", PLAIN)
def test_nothing_piles_up_over_the_steps(tiny_model: UNetModel, scene: Scene, method: str) -> None:
    """Masks and words are prepared once, so a longer run keeps no more than a short one."""
    sizes = []

    def measure(denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        sizes.append(len(condition.cache))
        return denoise(x, level, condition)

    sample(tiny_model, scene, [*build(method), measure], steps=8)
    assert sizes[1] == sizes[3]
    assert sizes[5] == sizes[7]


def test_strength_weighs_the_segments_of_zest(tiny_model: UNetModel, scene: Scene) -> None:
    car, dog = scene.segments
    silent = Scene(scene.caption, (car, Segment(dog.mask, dog.text, 0.0)), scene.size)
    alone = Scene(scene.caption, (car,), scene.size)
    torch.testing.assert_close(latents(tiny_model, silent, Zest()), latents(tiny_model, alone, Zest()))


def test_the_widest_maps_are_averaged_per_segment() -> None:
    flat, bright = torch.full((4, 4), 0.5), torch.linspace(0, 1, 16).view(4, 4)
    dim = 0.3 * bright
    maps = torch.stack([torch.stack([flat, bright]), torch.stack([dim, flat]), torch.stack([bright, dim])])[None]
    assert torch.equal(_widest(maps, 1)[0], torch.stack([bright, bright]))
    assert torch.allclose(_widest(maps, 2)[0], torch.stack([(dim + bright) / 2] * 2))
    assert torch.allclose(_widest(maps, 9), maps.mean(1))
