"""What fixes an evaluation: two runs with the same plan, model and judges give the same table."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from scenewright.bench.drawing import SPLITS, complete, parameters_of
from scenewright.bench.layout import RENDERS
from scenewright.bench.scoring import Judges, identities
from scenewright.denoiser import Model
from scenewright.errors import UserError
from scenewright.evaluation.protocols import PROTOCOLS, WORLD
from scenewright.guidance import canonical


@dataclass(frozen=True)
class Plan:
    """`data` is "world" or a folder of scenes; `samples` the most scenes; scene i is drawn from seed `seed` + i.

    `parameters` are those of the methods ("zest.eta"); each method takes the ones it has. Raises UserError for values
    that cannot work.
    """

    protocol: str = "few"
    data: str = WORLD
    samples: int = 512
    split: str = "test"
    seed: int = 0
    steps: int = 30
    batch: int = 16
    reference: int = 1000
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise UserError(f"protocol '{self.protocol}' is not known; choose from {', '.join(PROTOCOLS)}.")
        if self.split not in SPLITS:
            raise UserError(f"split '{self.split}' is not known; choose from {', '.join(SPLITS)}.")
        for name, least in (("samples", 2), ("reference", 5), ("batch", 1), ("steps", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least {least}.")

    def parameters_of(self, method: str) -> dict[str, Any]:
        """The parameters that a method has."""
        return parameters_of(self.parameters, method)


def identity(plan: Plan, model: Model, judges: Judges) -> dict[str, Any]:
    """All that a table depends on but for the methods, as JSON."""
    fixed = {spec.name: getattr(plan, spec.name) for spec in fields(plan) if spec.name != "parameters"}
    return fixed | identities(model, judges)


def column(plan: Plan, model: Model, method: str) -> tuple[str, str, dict[str, Any]]:
    """A method's name, the name of its folder, and every parameter it is drawn with."""
    if method == RENDERS:
        return RENDERS, RENDERS, {}
    name = canonical(method)
    used = complete(model, name, plan.parameters_of(name))
    digest = hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:8]
    return name, f"{name}-{digest}", used
