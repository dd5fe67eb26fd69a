"""The ablations of the ZestGuide paper and its slides as presets: one choice is varied, all else stays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scenewright.bench.rows import Row
from scenewright.bench.scoring import Judges
from scenewright.denoiser import Model
from scenewright.errors import UserError
from scenewright.evaluation.plan import Plan
from scenewright.evaluation.run import Run
from scenewright.evaluation.table import row_of

METHOD = "zest"


@dataclass(frozen=True)
class Variant:
    """One setting of an ablation: its label, the parameters it sets, what it changes of the plan, and the figures that
    the slides of ZestGuide's authors give for it (COCO-Stuff, Eval-filtered).
    """

    label: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[str, float] | None = None


def _figures(fid: float, miou: float, clip: float) -> dict[str, float]:
    return {"fid": fid, "miou": miou, "clip": clip}


# By the names of the slides: 32 cells a side are the finest grid that they read, 16 the next.
PUBLISHED = {
    "layers": {
        "all": _figures(33.74, 0.4017, 30.19),
        "decoder": _figures(33.81, 0.4002, 30.05),
        "encoder": _figures(30.98, 0.3824, 30.67),
        "res32": _figures(29.35, 0.3949, 30.75),
        "res16": _figures(33.59, 0.4027, 30.23),
        "res16+32": _figures(31.53, 0.4334, 30.44),
    },
    "granularity": {
        "head": _figures(33.6, 0.321, 29.9),
        "layer": _figures(31.6, 0.427, 30.5),
        "global": _figures(31.5, 0.433, 30.4),
    },
}


def variants(name: str, model: Model) -> list[Variant]:
    """The variants of an ablation; raises UserError if there is none of that name."""
    if name not in ABLATIONS:
        raise UserError(f"ablation '{name}' is not known; choose from {', '.join(ABLATIONS)}.")
    return ABLATIONS[name](model)


def _layers(model: Model) -> list[Variant]:
    """All, decoder or encoder alone, each resolution alone, and each two neighbouring resolutions of both; beside them
    the published figures of the layers that are as fine among the model's own.
    """
    sides = sorted({layer.side for layer in model.layers if layer.part != "mid"})
    single = {f"res{side}": f"encoder&res{side}+decoder&res{side}" for side in sides}
    pairs = {f"res{a}+{b}": f"{single[f'res{a}']}+{single[f'res{b}']}" for a, b in zip(sides, sides[1:], strict=False)}
    named = {"all": "all", "decoder": "decoder", "encoder": "encoder"} | single | pairs
    coarse, fine = (16, 32) if {16, 32} <= set(sides) else (sides[-2:] if len(sides) > 1 else (0, sides[-1]))
    theirs = {f"res{coarse}": "res16", f"res{fine}": "res32", f"res{coarse}+{fine}": "res16+32"}
    known = PUBLISHED["layers"]
    return [
        Variant(label, {"zest.layers": choice}, published=known.get(theirs.get(label, label)))
        for label, choice in named.items()
    ]


def _varied(parameter: str, values: Sequence[Any]) -> list[Variant]:
    labels = [f"{value:g}" if isinstance(value, float) else value for value in values]
    known = PUBLISHED.get(parameter.partition(".")[2], {})
    pairs = zip(labels, values, strict=True)
    return [Variant(label, {parameter: value}, published=known.get(label)) for label, value in pairs]


ABLATIONS = {
    "layers": _layers,
    "granularity": lambda model: _varied("zest.granularity", ("head", "layer", "global")),
    "loss": lambda model: _varied("zest.loss", ("bce", "max", "bce+max", "release")),
    "strength": lambda model: _varied("zest.eta", (0.1, 0.3, 0.5, 1.0, 2.0)),
    "fraction": lambda model: _varied("zest.fraction", (0.1, 0.25, 0.5, 0.75, 1.0)),
    "seeds": lambda model: [Variant(str(seed), plan={"seed": 1_000_000 * seed}) for seed in range(3)],
    "segments": lambda model: [Variant(str(count), plan={"protocol": f"few-{count}"}) for count in (1, 2, 3)],
}


def ablate(
    name: str, folder: Path, plan: Plan, model: Model, judges: Judges, shard: tuple[int, int], told: Any
) -> list[Row] | None:
    """A row per variant, with `variant` for its label, and `published_miou` and its like for what the authors report;
    None while other processes still work.

    Variants that share a plan share a folder and so its scenes.
    """
    runs, every = [], variants(name, model)
    for variant in every:
        own = replace(plan, parameters={**plan.parameters, **variant.parameters}, **variant.plan)
        place = folder / "-".join(str(value) for value in variant.plan.values()) if variant.plan else folder
        runs.append(Run(place, own, model, judges, told))
    for run in runs:
        run.work([METHOD], shard)
    if any(run.missing([METHOD]) for run in runs):
        return None
    return [
        {"ablation": name, "variant": variant.label, **row_of(run, METHOD), **_beside(variant)}
        for variant, run in zip(every, runs, strict=True)
    ]


def _beside(variant: Variant) -> dict[str, float | None]:
    return {f"published_{name}": (variant.published or {}).get(name) for name in ("miou", "fid", "clip")}
