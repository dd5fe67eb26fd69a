"""Strengths that suit a model better than the published ones, by the model's name: one literal table.

Tuned on the validation scenes of the reference world, never on the ones that are reported (`scenewright bench layout
--split validation`). A parameter that is not named here keeps the paper's value.
"""

from typing import Any

# By mIoU and FID on 128 validation scenes of "few". The embedded model has two attention grids, 16 and 8 cells a side;
# reading both follows layouts better. Fresh noise in the guided steps (the release of SD 1.4 has half as much) takes
# pushed latents back to where the model knows its way: more of mIoU and less of FID than without.
# The temperature flattens the attention that the loss reads, so that a phrase is pulled to its segment from further
# away (256 scenes, eta 0.6: 0.550 at 1, 0.593 at 2, 0.588 at 3, FID 10.6 to 10.7). A smaller eta costs mIoU (0.5:
# 0.565), a larger one FID.
TUNED: dict[str, dict[str, Any]] = {
    "embedded": {
        "zest.eta": 0.6,
        "zest.ddim_eta": 1.0,
        "zest.layers": "all",
        "zest.temperature": 2.0,
        "paint.weight": 0.4,
        "cfg.scale": 3.0,
    },
}
# The same for one method alone, by model and method.
TOGETHER: dict[tuple[str, str], dict[str, Any]] = {
    ("embedded", "zest+paint"): {"paint.start": 0.5},  # where ZestGuide ends; both at once are no better than one
}


def tuned(model: str, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Those of `parameters` ("part.field" names) that are tuned for `model` in `method`, with the tuned values."""
    values = TUNED.get(model, {}) | TOGETHER.get((model, method), {})
    return {name: value for name, value in values.items() if name in parameters}
