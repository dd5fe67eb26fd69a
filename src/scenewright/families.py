"""The families of backbones: which guidance each takes and why not the others, which layers show layout, and default
strengths. One literal table; docs/backbones.md shows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scenewright.errors import UserError

_ANYWHERE = frozenset({"none", "multidiffusion", "paint", "zest", "zest+paint", "classifier"})
_CROSS = _ANYWHERE | {"dense", "attend", "boxdiff", "layout-guidance", "refocus"}
_BOXES = frozenset({"gligen", "boxdiff+gligen", "refocus+gligen"})
_UNTRAINED: dict[str, str] = {
    **dict.fromkeys(("spatext", "spatext-multi"), "it needs weights that were trained for the model"),
    **dict.fromkeys(sorted(_BOXES), "it needs a model that was trained to take boxes, a GLIGEN pipeline"),
}
_JOINT: dict[str, str] = _UNTRAINED | {
    "dense": "it edits cross- and self-attention apart, and here they share one softmax",
    "attend": "its thresholds and its step size are for the 16 x 16 cross-attention of Stable Diffusion",
    "boxdiff": "its step size is for the 16 x 16 cross-attention of Stable Diffusion",
    "refocus": "its thresholds are for the 16 x 16 cross-attention of Stable Diffusion",
    "layout-guidance": "it reads the middle and the decoder of a U-Net, which a transformer does not have",
}


@dataclass(frozen=True)
class Layout:
    """Attention layers of the kind `part` from `start` to `stop`, fractions of the depth of that part: those that
    "published" means.
    """

    part: str
    start: float
    stop: float


@dataclass(frozen=True)
class Family:
    """What one kind of backbone can do.

    `title` is for people; `pipelines` are the diffusers classes it comes as. `supports` and `refused` (with reasons)
    share out the methods of `guidance.METHODS`. `layout` is None where resolution says it (U-Nets: 16 and 32 cells a
    side outside the middle). `strengths` are defaults by "part.field" that differ from the papers'; `distilled` is
    diffusers' default for a network that was distilled with its guidance.
    """

    title: str
    pipelines: tuple[str, ...]
    supports: frozenset[str]
    refused: Mapping[str, str] = field(default_factory=dict)
    layout: Layout | None = None
    strengths: Mapping[str, Any] = field(default_factory=dict)
    distilled: float | None = None


FAMILIES: dict[str, Family] = {
    "unet": Family(
        "Stable Diffusion 1.x and 2.x",
        ("StableDiffusionPipeline", "StableDiffusionControlNetPipeline"),
        _CROSS,
        _UNTRAINED,
    ),
    "gligen": Family(
        "GLIGEN",
        ("StableDiffusionGLIGENPipeline",),
        _CROSS | _BOXES,
        {method: why for method, why in _UNTRAINED.items() if method not in _BOXES},
    ),
    # ZestGuide's release for SDXL; 5 is diffusers' default scale.
    "sdxl": Family(
        "Stable Diffusion XL",
        ("StableDiffusionXLPipeline", "StableDiffusionXLControlNetPipeline"),
        _CROSS,
        _UNTRAINED,
        strengths={"zest.eta": 0.09, "zest.decay": "linear", "cfg.scale": 5.0},
    ),
    # After Seg4Diff (Kim et al. 2025, arXiv 2509.18096): one block segments best, in the first half; not measured here.
    "sd3": Family(
        "Stable Diffusion 3 and 3.5",
        ("StableDiffusion3Pipeline",),
        _ANYWHERE,
        _JOINT,
        Layout("double", 0.25, 0.5),
        {"cfg.scale": 7.0},
    ),
    # The later double-stream blocks, after ConceptAttention (Helbling et al. 2025, arXiv 2502.04320). Guidance is
    # distilled into these models: no second half.
    "flux": Family(
        "Flux.1",
        ("FluxPipeline",),
        _ANYWHERE,
        _JOINT,
        Layout("double", 0.5, 1.0),
        {"cfg.scale": 1.0},
        distilled=3.5,
    ),
    # No study is known to us: the middle third of the single-stream blocks, by likeness to SD3.
    "auraflow": Family(
        "AuraFlow",
        ("AuraFlowPipeline",),
        _ANYWHERE,
        _JOINT,
        Layout("single", 1 / 3, 2 / 3),
        {"cfg.scale": 3.5},
    ),
}


def family_of(names: tuple[str, ...]) -> str | None:
    """The family of a pipeline by the names of its class and of the classes it inherits from."""
    found = (key for name in names for key, family in FAMILIES.items() if name in family.pipelines)
    return next(found, None)


def refuse(method: str, refused: Mapping[str, str]) -> None:
    """Raise UserError when `method` is among those that a model refuses."""
    if method in refused:
        raise UserError(f"'{method}' does not work on this model: {refused[method]}; choose another method.")


def strengths(family: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `parameters` ("part.field" names) that have a default of their own in the family, with it."""
    own = FAMILIES[family].strengths if family in FAMILIES else {}
    return {name: value for name, value in own.items() if name in parameters}
