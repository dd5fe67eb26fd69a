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
    """One setting of an ablation: its label, the parameters it sets, and what it changes of the plan."""

    label: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)


def variants(name: str, model: Model) -> list[Variant]:
    """The variants of an ablation; raises UserError if there is none of that name."""
    if name not in ABLATIONS:
        raise UserError(f"ablation '{name}' is not known; choose from {', '.join(ABLATIONS)}.")
    return ABLATIONS[name](model)


def _layers(model: Model) -> list[Variant]:
    """All, decoder or encoder alone, each resolution alone, and each two neighbouring resolutions of both."""
    sides = sorted({layer.side for layer in model.layers if layer.part != "mid"})
    single = {f"res{side}": f"encoder&res{side}+decoder&res{side}" for side in sides}
    pairs = {f"res{a}+{b}": f"{single[f'res{a}']}+{single[f'res{b}']}" for a, b in zip(sides, sides[1:], strict=False)}
    named = {"all": "all", "decoder": "decoder", "encoder": "encoder"} | single | pairs
    return [Variant(label, {"zest.layers": choice}) for label, choice in named.items()]


def _varied(parameter: str, values: Sequence[Any]) -> list[Variant]:
    return [Variant(f"{value:g}" if isinstance(value, float) else value, {parameter: value}) for value in values]


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
    """A row per variant, with `variant` for its label; None while other processes still work.

    Variants that share a plan share a folder and so its scenes.
    """
    runs = []
    for variant in variants(name, model):
        own = replace(plan, parameters={**plan.parameters, **variant.parameters}, **variant.plan)
        place = folder / "-".join(str(value) for value in variant.plan.values()) if variant.plan else folder
        runs.append((variant.label, Run(place, own, model, judges, told)))
    for _, run in runs:
        run.work([METHOD], shard)
    if any(run.missing([METHOD]) for _, run in runs):
        return None
    return [{"ablation": name, "variant": label, **row_of(run, METHOD)} for label, run in runs]
