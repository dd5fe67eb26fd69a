"""What a user added to a pipeline stays in force: a ControlNet, an IP-Adapter."""

# diffusers exports lazily and types its constructors loosely.
# pyright: reportPrivateImportUsage=false, reportArgumentType=false

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionXLControlNetPipeline
from PIL import Image
from tiny import stock_latents, tiny
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from conftest import SIDE, two_segments
from scenewright import backends
from scenewright.attention import Taps
from scenewright.errors import UserError
from scenewright.guidance import ClassifierFree, build
from scenewright.sampling import sample
from scenewright.schedule import Level

load: Any = backends.load  # each kind of model has more than the protocol

# diffusers turns tensors into arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
LEVEL = Level(0.6, 0.8, 500)
UNETS = ["unet", "sdxl"]


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def controlled(pipeline: Any) -> Any:
    """The pipeline with a ControlNet of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = ControlNetModel.from_unet(pipeline.unet, conditioning_embedding_out_channels=(4, 8, 8))
        for parameter in network.parameters():  # its last layers begin as zeros
            parameter.data.add_(0.05 * torch.randn_like(parameter))
    kind = (
        StableDiffusionXLControlNetPipeline if hasattr(pipeline, "tokenizer_2") else StableDiffusionControlNetPipeline
    )
    built = kind.from_pipe(pipeline, controlnet=network.eval())
    built.set_progress_bar_config(disable=True)
    return built


def looked(pixels: Any, **options: Any) -> Any:
    """A feature extractor without dependencies: pixels as the tiny vision model takes them."""
    values = torch.tensor(np.array(pixels), dtype=torch.float32).permute(2, 0, 1)[None] / 255
    return type("Pixels", (), {"pixel_values": values})


def adapted(pipeline: Any) -> Any:
    """The pipeline with an IP-Adapter of random weights that sees four tokens of a picture."""
    unet = pipeline.unet
    width, sizes = unet.config.cross_attention_dim, []
    for key in unet.attn_processors:
        attn = dict(unet.named_modules())[key.removesuffix(".processor")]
        sizes += [attn.inner_dim] if attn.is_cross_attention else []
    with torch.random.fork_rng():
        torch.manual_seed(2)
        vision = CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=SIDE,
            patch_size=8,
            projection_dim=12,
        )
        encoder = CLIPVisionModelWithProjection(vision).eval()
        projection = {"proj.weight": torch.randn(4 * width, 12), "proj.bias": torch.randn(4 * width)}
        projection |= {"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}
        keys = {
            f"{2 * i + 1}.to_{kind}_ip.weight": 0.3 * torch.randn(size, width)
            for i, size in enumerate(sizes)
            for kind in "kv"
        }
    pipeline.load_ip_adapter(
        {"image_proj": projection, "ip_adapter": keys}, subfolder="", weight_name="", image_encoder_folder=None
    )
    pipeline.image_encoder, pipeline.feature_extractor = encoder, looked
    return pipeline


@pytest.mark.parametrize("family", UNETS)
def test_a_controlnet_stays_in_force(family: str) -> None:
    stock, ours = (controlled(tiny(family)) for _ in range(2))
    model, scene = load(ours), two_segments()
    keywords = {"image": Image.fromarray(picture()), "controlnet_conditioning_scale": 0.7}
    theirs = stock_latents(family, stock, model.noise([2]), 3.0, 4, **keywords)
    shown = model.controlled(picture(), 0.7)
    assert (sample(shown, scene, [ClassifierFree(3.0)], steps=4, seeds=[2]).latents - theirs).abs().max() < 1e-4
    assert torch.isfinite(sample(shown, scene, build("zest+paint"), steps=2).latents).all()
    assert "control" in shown.identity()
    with pytest.raises(UserError, match="has a ControlNet, which needs a picture"):
        sample(model, scene, steps=1)
    with pytest.raises(UserError, match="no ControlNet to show a picture to"):
        load(tiny(family)).controlled(picture())


@pytest.mark.parametrize("family", UNETS)
def test_an_ip_adapter_stays_in_force(family: str) -> None:
    """In both halves of classifier-free guidance, and while attention is read and edited."""
    stock, ours = (adapted(tiny(family)) for _ in range(2))
    model, scene = load(ours), two_segments()
    theirs = stock_latents(family, stock, model.noise([2]), 3.0, 4, ip_adapter_image=Image.fromarray(picture()))
    shown = model.shown(Image.fromarray(picture()))
    assert (sample(shown, scene, [ClassifierFree(3.0)], steps=4, seeds=[2]).latents - theirs).abs().max() < 1e-4
    assert "shown" in shown.identity()
    with pytest.raises(UserError, match="has an IP-Adapter, which needs a picture"):
        sample(model, scene, steps=1)
    with pytest.raises(UserError, match="exactly one IP-Adapter"):
        load(tiny(family)).shown(picture())
    model.release()
    assert ours.unet.state_dict().keys() == stock.unet.state_dict().keys()


def test_attention_beside_an_adapter_is_read_as_without_it() -> None:
    """At scale 0 the adapter adds nothing: what is read and what an edit does are those of the plain pipeline."""
    pipeline = adapted(tiny("unet"))
    pipeline.set_ip_adapter_scale(0.0)
    plain, with_one = load(tiny("unet")), load(pipeline)
    with_one = with_one.shown(Image.fromarray(picture()))
    found = []
    for model in (plain, with_one):
        names = frozenset(layer.name for layer in model.layers)
        taps = Taps(record=names, edits=(lambda name, logits: logits[:, :1].cos(),))
        taps.extra = torch.cat(model.words(["green"]))[None]
        with torch.no_grad():
            condition = model.encode(two_segments()).tapped(taps)
            found.append((model.denoise(model.noise([0]), LEVEL, condition).eps, taps))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-4)
    for name in found[0][1].queries:
        read = [taps.logits(name, biased=False) for _, taps in found]
        torch.testing.assert_close(read[0], read[1], atol=1e-5, rtol=1e-4)


def test_transformers_take_neither() -> None:
    for ask in (load(tiny("sd3")).controlled, load(tiny("flux")).shown):
        with pytest.raises(UserError, match="supported on Stable Diffusion 1.x, 2.x and XL"):
            ask(picture())


def test_every_method_goes_with_an_adapter() -> None:
    model = load(adapted(tiny("unet"))).shown(Image.fromarray(picture()))
    for method in ("zest+paint", "multidiffusion", "dense"):
        together = sample(model, two_segments(), build(method), steps=2, seeds=[3, 4]).latents
        alone = sample(model, two_segments(), build(method), steps=2, seeds=[4]).latents
        assert (together[1] - alone[0]).abs().max() < 2e-3
