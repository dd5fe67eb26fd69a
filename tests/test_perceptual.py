"""LPIPS against the parts of torchmetrics', and its laws; random weights stand for the published ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from scenewright.errors import UserError
from scenewright.perceptual import _TAKEN, Lpips, _network, clip_distance


def weights(path: Path, variant: str, packaged: bool = False) -> Path:
    torch.manual_seed(0)
    network = _network(variant)
    tensors = {f"features.{name}": t for name, t in network.state_dict().items()}
    widths = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}[variant]
    for i, width in enumerate(widths):
        tensors[f"lin{i}.model.1.weight" if packaged else f"lin{i}.weight"] = torch.rand(1, width, 1, 1)
    save_file(tensors, path)
    return path


def pictures(seed: int, count: int = 2, side: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize(("variant", "packaged"), [("alex", False), ("vgg", True)])
def test_it_is_that_of_torchmetrics(variant: str, packaged: bool, tmp_path: Path) -> None:
    theirs = pytest.importorskip("torchmetrics.functional.image.lpips")
    ours = Lpips.load(weights(tmp_path / "w.safetensors", variant, packaged), variant)
    a, b = pictures(0), pictures(1)
    scale = theirs.ScalingLayer()
    x, y = (scale(torch.from_numpy(p).permute(0, 3, 1, 2).float() / 127.5 - 1) for p in (a, b))
    expected = torch.zeros(len(a))
    for position, layer in enumerate(ours.features):
        x, y = layer(x), layer(y)
        if position in _TAKEN[variant]:
            line = theirs.NetLinLayer(x.shape[1])
            line.model[-1].weight.data = ours.weights[_TAKEN[variant].index(position)].view(1, -1, 1, 1)
            far = (theirs._normalize_tensor(x) - theirs._normalize_tensor(y)) ** 2
            expected = expected + theirs._spatial_average(line.eval()(far)).flatten()
    assert np.allclose(ours(a, b), expected.detach().numpy(), rtol=1e-4)


def test_the_networks_are_those_of_torchvision() -> None:
    alex = {name: tuple(t.shape) for name, t in _network("alex").state_dict().items() if name.endswith("weight")}
    assert alex == {
        "0.weight": (64, 3, 11, 11),
        "3.weight": (192, 64, 5, 5),
        "6.weight": (384, 192, 3, 3),
        "8.weight": (256, 384, 3, 3),
        "10.weight": (256, 256, 3, 3),
    }
    vgg = [name for name in _network("vgg").state_dict() if name.endswith("weight")]
    assert [int(name.split(".")[0]) for name in vgg] == [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]


def test_laws(tmp_path: Path) -> None:
    distance = Lpips.load(weights(tmp_path / "w.safetensors", "alex"))
    a, b = pictures(2, 18), pictures(3, 18)
    assert (distance(a, a) == 0).all()
    assert np.allclose(distance(a, b), distance(b, a), rtol=1e-6)
    assert (distance(a, b) > 0).all()
    assert distance(a[17:], b[17:])[0] == pytest.approx(distance(a, b)[17], rel=1e-4)
    assert len(distance(a[:0], b[:0])) == 0
    for measure in (distance, clip_distance):
        with pytest.raises(ValueError, match="one shape"):
            measure(a, b[:1])


def test_the_world_clip_distance_of_a_picture_grows_with_noise() -> None:
    from scenewright.world import render

    image = np.stack([render(7).image])
    noise = np.random.default_rng(0).normal(0, 1, image.shape)
    near, far = (np.clip(image + level * noise, 0, 255).astype(np.uint8) for level in (4, 60))
    assert clip_distance(image, image)[0] == pytest.approx(0, abs=1e-6)
    assert clip_distance(image, near)[0] < clip_distance(image, far)[0]


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    path = weights(tmp_path / "w.safetensors", "alex")
    with pytest.raises(UserError, match="variant 'squeeze' is not known"):
        Lpips.load(path, "squeeze")
    with pytest.raises(UserError, match=r"holds no LPIPS \(vgg\) weights"):
        Lpips.load(path, "vgg")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="holds no LPIPS"):
        Lpips.load(tmp_path / "w.pth")
    network = _network("alex")
    save_file({f"features.{name}": t for name, t in network.state_dict().items()}, path)
    with pytest.raises(UserError, match="lacks linear layers"):
        Lpips.load(path)
