"""Strengths that suit a model better than the published ones, by the model's name: one literal table.

Tuned on the validation scenes of the reference world, never on the ones that are reported (`scenewright bench layout
--split validation`). A parameter that is not named here keeps the paper's value.
"""

from typing import Any

# By mIoU and FID on 64 validation scenes of "few". The embedded model has two attention grids, 16 and 8 cells a side;
# reading both follows layouts better. Half the paper's eta follows them as well as the whole, for less of FID.
# Paint-with-Words likes a stronger bias alone than beside ZestGuide.
TUNED: dict[str, dict[str, Any]] = {
    "embedded": {"zest.eta": 0.5, "zest.layers": "all", "paint.weight": 0.4, "cfg.scale": 3.0},
}
# The same for one method alone, by model and method.
TOGETHER: dict[tuple[str, str], dict[str, Any]] = {("embedded", "zest+paint"): {"paint.weight": 0.1}}


def tuned(model: str, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Those of `parameters` ("part.field" names) that are tuned for `model` in `method`, with the tuned values."""
    values = TUNED.get(model, {}) | TOGETHER.get((model, method), {})
    return {name: value for name, value in values.items() if name in parameters}
