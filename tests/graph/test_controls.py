"""Networks that read maps: adapters that change nothing untrained, and parity with diffusers' own pipelines."""

# diffusers exports lazily and types its constructors loosely.
# pyright: reportPrivateImportUsage=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false

import json
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    DDIMScheduler,
    StableDiffusionAdapterPipeline,
    StableDiffusionControlNetPipeline,
    T2IAdapter,
)

from scenewright.backends.adapters import TimeAdapter, fresh
from scenewright.backends.controls import Together, controlled, read
from scenewright.errors import UserError
from scenewright.graph.factor import Factor, FactorGraph
from scenewright.graph.sampling import begin, draw
from scenewright.guidance import ClassifierFree
from scenewright.maps import Segmentation
from scenewright.sampling import sample
from scenewright.scene import Scene

LABELS = Segmentation(("", "car", "dog"))
CAPTION = "a red car and a dog"


def shaken(net: Any) -> Any:
    """The network with every weight random, so that zero convolutions do not hide mistakes."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def labels(side: int = 32) -> np.ndarray:
    out = np.zeros((side, side), int)
    out[4:20, 4:20], out[16:, 16:] = 1, 2
    return out


def picture_factor(model: Any, steps: int = 4, **others: Any) -> FactorGraph:
    guidance = (ClassifierFree(3.0),)
    factor = Factor("image", ("caption", "segmentation"), model, guidance=guidance, steps=steps, **others)
    return FactorGraph((factor,), observed={"segmentation": LABELS})


def control_net(unet: Any) -> ControlNetModel:
    return shaken(ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8, 8)))


def stock_adapter() -> T2IAdapter:
    return shaken(T2IAdapter(3, [16, 32], num_res_blocks=1, downscale_factor=4))


def test_an_untrained_adapter_changes_nothing(tiny_model):
    unet = tiny_model.pipeline.unet
    model = controlled(tiny_model, {"segmentation": fresh(unet)}, own=fresh(unet))
    scene = Scene(CAPTION, (), (32, 32))
    drawn = draw(picture_factor(model), {"caption": CAPTION, "segmentation": labels()})["image"]
    chain = begin(picture_factor(model)["image"], [CAPTION], [0])
    plain = sample(tiny_model, scene, [ClassifierFree(3.0)], 4, [0])
    assert torch.equal(sample(model, scene, [ClassifierFree(3.0)], 4, [0]).latents, plain.latents)
    while not chain.done:
        chain.advance()
    assert torch.equal(drawn.latents, chain.x)


def test_a_trained_adapter_heeds_its_map_its_level_and_its_strength(tiny_model):
    net = shaken(fresh(tiny_model.pipeline.unet))
    given = {"caption": CAPTION, "segmentation": labels()}
    strong, weak, none = (
        draw(picture_factor(controlled(tiny_model, {"segmentation": net}, strengths={"segmentation": s})), given)
        for s in (1.0, 0.5, 0.0)
    )
    other = draw(picture_factor(controlled(tiny_model, {"segmentation": net})), given | {"segmentation": labels() * 0})
    plain = draw(picture_factor(controlled(tiny_model, {"segmentation": fresh(tiny_model.pipeline.unet)})), given)
    assert torch.equal(none["image"].latents, plain["image"].latents)
    far = [(one["image"].latents - none["image"].latents).abs().max() for one in (strong, weak, other)]
    assert far[0] > far[1] > 0
    assert far[2] > 0
    assert not torch.equal(strong["image"].latents, other["image"].latents)
    x, hot, cold = torch.randn(1, 4, 8, 8), torch.randn(1, 128), torch.randn(1, 128)
    assert not torch.equal(net(x, hot)[0], net(x, cold)[0])
    assert [tuple(f.shape) for f in net(x, hot)] == [(1, 16, 8, 8), (1, 16, 8, 8), (1, 32, 4, 4)]


@pytest.mark.parametrize("kind", ["controlnet", "adapter"])
def test_stock_networks_draw_what_their_stock_pipelines_draw(tiny_pipeline, kind):
    from scenewright.backends import load

    pipe = tiny_pipeline()
    model: Any = load(pipe)
    net = control_net(pipe.unet) if kind == "controlnet" else stock_adapter()
    graph = picture_factor(controlled(model, {"segmentation": net}, strengths={"segmentation": 0.8}))
    ours = draw(graph, {"caption": CAPTION, "segmentation": labels()}, seeds=[5])["image"]
    picture = torch.from_numpy(LABELS.encode(labels())).permute(2, 0, 1)[None] / 2 + 0.5
    parts = {name: getattr(pipe, name) for name in ("vae", "text_encoder", "tokenizer", "unet", "feature_extractor")}
    parts |= {"scheduler": DDIMScheduler.from_config(pipe.scheduler.config), "safety_checker": None}
    noise = begin(graph["image"], [CAPTION], [5]).x
    shared = {"num_inference_steps": 4, "guidance_scale": 3.0, "latents": noise, "output_type": "latent"}
    if kind == "controlnet":
        stock = StableDiffusionControlNetPipeline(**parts, controlnet=net, requires_safety_checker=False)
        shared["controlnet_conditioning_scale"] = 0.8
    else:
        stock = StableDiffusionAdapterPipeline(**parts, adapter=net, requires_safety_checker=False)
        shared["adapter_conditioning_scale"] = 0.8
    stock.set_progress_bar_config(disable=True)
    theirs = stock(CAPTION, image=picture, **shared).images
    plain = sample(model, Scene(CAPTION, (), (32, 32)), [ClassifierFree(3.0)], 4, [5])
    assert (ours.latents - theirs).abs().max() < 1e-4
    assert (ours.latents - plain.latents).abs().max() > 1e-2


def test_controls_add_up(tiny_model):
    unet = tiny_model.pipeline.unet
    nets = {"segmentation": shaken(fresh(unet)), "depth": control_net(unet), "sketch": stock_adapter()}
    model = controlled(tiny_model, nets)
    assert isinstance(model.control, Together)
    graph = FactorGraph(
        (Factor("image", ("caption", *nets), model, guidance=(ClassifierFree(3.0),), steps=2),),
        observed=dict.fromkeys(nets, LABELS),
    )
    given = {"caption": CAPTION, **dict.fromkeys(nets, labels())}
    all_three = draw(graph, given)["image"].latents
    two = draw(graph, given | {"sketch": labels() * 0})["image"].latents
    assert torch.isfinite(all_three).all()
    assert not torch.equal(all_three, two)


def test_maps_are_drawn_and_then_heeded(tiny_model):
    """Ancestral: what a child reads is the decoded map, so giving the drawn map back draws the same picture."""
    unet = tiny_model.pipeline.unet
    maps = Factor("segmentation", ("caption",), controlled(tiny_model, {}, own=shaken(fresh(unet))), LABELS, steps=2)
    picture = Factor(
        "image", ("caption", "segmentation"), controlled(tiny_model, {"segmentation": control_net(unet)}), steps=2
    )
    graph = FactorGraph((picture, maps))
    drawn = draw(graph, {"caption": CAPTION}, seeds=[1, 2])
    assert drawn["segmentation"].maps is not None
    again = draw(graph, {"caption": CAPTION, "segmentation": drawn["segmentation"].maps[1]}, seeds=[2])
    assert torch.allclose(again["image"].latents[0], drawn["image"].latents[1], atol=1e-5)
    with pytest.raises(UserError, match="draw with mode 'ancestral'"):
        draw(graph, {"caption": CAPTION}, mode="joint")


def test_adapters_may_be_drawn_jointly(tiny_model):
    unet = tiny_model.pipeline.unet
    own = controlled(tiny_model, {}, own=shaken(fresh(unet)))
    child = controlled(tiny_model, {"segmentation": shaken(fresh(unet))})
    graph = FactorGraph(
        (Factor("segmentation", ("caption",), own, LABELS, steps=3), Factor("image", ("segmentation",), child, steps=3))
    )
    joint, apart = (draw(graph, {"caption": CAPTION}, mode=mode) for mode in ("joint", "ancestral"))
    assert torch.equal(joint["segmentation"].latents, apart["segmentation"].latents)
    assert not torch.equal(joint["image"].latents, apart["image"].latents)


def test_larger_pictures_than_their_maps(tiny_model):
    child = controlled(tiny_model, {"segmentation": shaken(fresh(tiny_model.pipeline.unet))})
    drawn = draw(picture_factor(child, 1, size=(64, 64)), {"caption": CAPTION, "segmentation": labels()})
    assert drawn["image"].pictures.shape == (1, 64, 64, 3)
    wide = labels()[:16]
    with pytest.raises(UserError, match="'segmentation' is 32x16 pixels, but 'image' is 64x64"):
        draw(picture_factor(child, 1, size=(64, 64)), {"caption": CAPTION, "segmentation": wide})


def test_networks_are_read_from_their_folders(tiny_model, tmp_path):
    unet = tiny_model.pipeline.unet
    for net in (shaken(fresh(unet)), control_net(unet), stock_adapter()):
        folder = tmp_path / type(net).__name__
        net.save_pretrained(folder)
        back = read(folder)
        assert type(back) is type(net)
        assert all(torch.equal(a, b) for a, b in zip(back.parameters(), net.parameters(), strict=True))
    model = controlled(tiny_model, {"a": tmp_path / "TimeAdapter", "b": str(tmp_path / "T2IAdapter")})
    assert isinstance(model.control, Together)


def test_what_is_no_network_is_refused(tiny_model, tmp_path):
    with pytest.raises(UserError, match="no config.json"):
        read(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel"}))
    with pytest.raises(UserError, match="not supported"):
        read(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "T2IAdapter"}))
    with pytest.raises(UserError, match="no safetensors"):
        read(tmp_path)
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match="is a pickle"):
        read(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path)
    with pytest.raises(UserError, match="read by a Linear"):
        controlled(tiny_model, {"a": torch.nn.Linear(1, 1)})
    with pytest.raises(UserError, match=r"widths \(8, 16\), this model has \(16, 32\)"):
        controlled(tiny_model, {"a": TimeAdapter(4, (8, 16), (8, 8), 64, 4)})
