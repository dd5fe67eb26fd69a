"""Strengths that suit a model better than the published ones, by the model's name: one literal table.

Tuned on the validation scenes of the reference world, never on the ones that are reported (`scenewright bench layout
--split validation`). A parameter that is not named here keeps the paper's value.
"""

from typing import Any

# The embedded model has two attention grids, 16 and 8 cells a side; reading both follows layouts better (mIoU on 48
# validation scenes of "few"), at the paper's strength.
TUNED: dict[str, dict[str, Any]] = {
    "embedded": {"zest.eta": 1.0, "zest.layers": "all", "paint.weight": 0.4, "cfg.scale": 3.0},
}


def tuned(model: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Those of `parameters` ("part.field" names) that are tuned for `model`, with the tuned values."""
    return {name: value for name, value in TUNED.get(model, {}).items() if name in parameters}
