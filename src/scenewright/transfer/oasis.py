"""OASIS (Schoenfeld et al., ICLR 2021, arXiv 2012.04781): label map and noise to a picture, and a segmenting critic.

Class 0 is "unlabelled" in every label map: its pixels show what they like and teach nothing.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2  # of every leaky ReLU


@dataclass(frozen=True)
class OasisConfig:
    """`classes` counts "unlabelled" too; `size` is height and width in pixels; the rest are widths of layers.

    The generator has one block per step of `widths` and starts at `size` halved once less than there are blocks. The
    critic goes down by `down` and up by `up`. Defaults are the published ones.
    """

    classes: int
    size: tuple[int, int] = (256, 256)
    noise: int = 64
    widths: tuple[int, ...] = (1024, 1024, 1024, 512, 256, 128, 64)
    hidden: tuple[int, ...] = (128,) * 6  # of the SPADE trunks, block by block
    down: tuple[int, ...] = (128, 128, 256, 256, 512, 512)
    up: tuple[int, ...] = (512, 256, 256, 128, 128, 64)

    @property
    def start(self) -> tuple[int, int]:
        """Height and width of the generator's first features."""
        halvings = len(self.widths) - 2
        return self.size[0] >> halvings, self.size[1] >> halvings

    def with_classes(self, classes: int) -> "OasisConfig":
        """The same networks for another number of classes."""
        return replace(self, classes=classes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def small(classes: int) -> OasisConfig:
    """For 128x128 pictures of the reference world, on a laptop."""
    return OasisConfig(
        classes,
        (128, 128),
        noise=16,
        widths=(128, 128, 128, 64, 32, 16),
        hidden=(48, 48, 32, 24, 16),
        down=(16, 32, 64, 96, 128),
        up=(96, 64, 48, 32, 16),
    )


PRESETS: dict[str, OasisConfig] = {
    "ade20k": OasisConfig(151),
    "coco-stuff": OasisConfig(183),
    "cityscapes": OasisConfig(35, (256, 512)),
    "world": small(41),
}


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Class ids (N, H, W) to (N, classes, H, W) float32."""
    return F.one_hot(labels.long(), classes).permute(0, 3, 1, 2).float()


def _conv(inside: int, outside: int, side: int = 3, normed: bool = False, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the size; Xavier-normal of gain 0.02, spectrally normalised if asked."""
    conv = nn.Conv2d(inside, outside, side, padding=side // 2, bias=bias)
    nn.init.xavier_normal_(conv.weight, gain=0.02)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return spectral_norm(conv) if normed else conv  # type: ignore[return-value]


class Spade(nn.Module):
    """Batch norm whose scale and shift are read from the map at every pixel (Park et al. 2019, eq. 1)."""

    def __init__(self, channels: int, read: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.trunk = _conv(read, hidden)
        self.affine = _conv(hidden, 2 * channels)  # gamma and beta: one convolution is quicker than two

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        gamma, beta = self.affine(F.relu(self.trunk(seen))).chunk(2, 1)
        return self.norm(x) * (1 + gamma) + beta


class SpadeBlock(nn.Module):
    """Two modulated convolutions beside a shortcut, which is learned where the width changes."""

    def __init__(self, inside: int, outside: int, read: int, hidden: int) -> None:
        super().__init__()
        middle = min(inside, outside)
        self.first, self.second = _conv(inside, middle, normed=True), _conv(middle, outside, normed=True)
        self.spade_first, self.spade_second = Spade(inside, read, hidden), Spade(middle, read, hidden)
        self.shortcut = _conv(inside, outside, 1, normed=True, bias=False) if inside != outside else None
        self.spade_shortcut = Spade(inside, read, hidden) if inside != outside else None

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        side = x
        if self.shortcut is not None and self.spade_shortcut is not None:
            side = self.shortcut(self.spade_shortcut(x, seen))
        x = self.first(F.leaky_relu(self.spade_first(x, seen), SLOPE))
        return side + self.second(F.leaky_relu(self.spade_second(x, seen), SLOPE))


class Generator(nn.Module):
    """Label map and 3-D noise to a picture in [-1, 1]."""

    def __init__(self, config: OasisConfig) -> None:
        super().__init__()
        self.config = config
        read = config.noise + config.classes
        widths = config.widths
        self.begin = _conv(read, widths[0])
        self.blocks = nn.ModuleList(
            SpadeBlock(a, b, read, hidden) for a, b, hidden in zip(widths[:-1], widths[1:], config.hidden, strict=True)
        )
        self.end = _conv(widths[-1], 3)

    def forward(self, maps: Tensor, z: Tensor) -> Tensor:
        """`maps` (N, classes, H, W) one-hot or soft, `z` (N, noise) or (N, noise, H, W): pictures (N, 3, H, W).

        Noise of one vector per picture is spread over all pixels, so that a picture has one style; noise that varies
        by region restyles regions (section 3.2 of the paper).
        """
        if z.ndim == 2:
            z = z[:, :, None, None].expand(-1, -1, *maps.shape[-2:])
        seen = torch.cat([z.to(maps), maps], 1)  # noise first: the order of the paper's figure, and of folding
        height, width = maps.shape[-2:]
        halvings = len(self.blocks) - 1
        x = self.begin(F.interpolate(seen, size=(height >> halvings, width >> halvings), mode="nearest"))
        for index, block in enumerate(self.blocks):
            if index:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = block(x, F.interpolate(seen, size=x.shape[-2:], mode="nearest"))
        return torch.tanh(self.end(F.leaky_relu(x, SLOPE)))

    def label_convolutions(self) -> list[nn.Conv2d]:
        """Every convolution that reads the label map, first to last; its input is noise, then classes."""
        spades = [module for module in self.modules() if isinstance(module, Spade)]
        return [self.begin, *(spade.trunk for spade in spades)]


class _DownBlock(nn.Module):
    def __init__(self, inside: int, outside: int, first: bool) -> None:
        super().__init__()
        self.active = not first  # pixels are not activations: the first block takes them as they are
        self.first, self.second = _conv(inside, outside, normed=True), _conv(outside, outside, normed=True)
        self.shortcut = _conv(inside, outside, 1, normed=True) if inside != outside else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(F.leaky_relu(x, SLOPE) if self.active else x)
        y = self.second(F.leaky_relu(y, SLOPE))
        return F.avg_pool2d(y + self.shortcut(x), 2)


class _UpBlock(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.first, self.second = _conv(inside, outside, normed=True), _conv(outside, outside, normed=True)
        self.shortcut = _conv(inside, outside, 1, normed=True) if inside != outside else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(F.interpolate(F.leaky_relu(x, SLOPE), scale_factor=2, mode="nearest"))
        y = self.second(F.leaky_relu(y, SLOPE))
        return y + F.interpolate(self.shortcut(x), scale_factor=2, mode="nearest")


class Discriminator(nn.Module):
    """A U-Net that segments: logit 0 says "fake", logit c + 1 says "real, of class c"."""

    def __init__(self, config: OasisConfig) -> None:
        super().__init__()
        self.config = config
        down = (3, *config.down)
        self.down = nn.ModuleList(
            _DownBlock(a, b, i == 0) for i, (a, b) in enumerate(zip(down, down[1:], strict=False))
        )
        beside = (0, *reversed(config.down[:-1]))  # what each block up is given from the way down
        inside = (config.down[-1], *config.up[:-1])
        self.up = nn.ModuleList(_UpBlock(a + b, c) for a, b, c in zip(inside, beside, config.up, strict=True))
        self.end = _conv(config.up[-1], config.classes + 1, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) in [-1, 1] to logits (N, classes + 1, H, W)."""
        passed = [pictures]
        for block in self.down:
            passed.append(block(passed[-1]))
        x = passed.pop()
        for index, block in enumerate(self.up):
            x = block(x if index == 0 else torch.cat([x, passed.pop()], 1))
        return self.end(F.leaky_relu(x, SLOPE))


class Oasis(nn.Module):
    """Generator and discriminator of one configuration, so that one checkpoint holds both."""

    def __init__(self, config: OasisConfig) -> None:
        super().__init__()
        self.config = config
        self.generator, self.discriminator = Generator(config), Discriminator(config)


@torch.no_grad()
def restated(generator: Generator, batches: list[tuple[Tensor, Tensor]]) -> None:
    """Measure the statistics of batch norm anew, as the plain mean over `batches` of (maps, z), in place.

    Averaged weights have activations that no step of training ever saw, so the running statistics of training are not
    theirs (section 4.1 of the paper: "statistics are re-estimated"). Spectral norms settle meanwhile.
    """
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
    training = generator.training
    generator.train()
    for maps, z in batches:
        generator(maps, z)
    generator.train(training)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
