"""Methods by name: each is a list of guidance, innermost first."""

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from scenewright.denoiser import During, Guidance
from scenewright.errors import UserError
from scenewright.families import strengths
from scenewright.guidance.attend import AttendAndExcite
from scenewright.guidance.boxes import BoxDiff, LayoutGuidance
from scenewright.guidance.classifier import ExternalClassifier
from scenewright.guidance.classifier_free import ClassifierFree
from scenewright.guidance.dense import DenseDiffusion
from scenewright.guidance.gligen import Gligen
from scenewright.guidance.gradient import Descend, check_range
from scenewright.guidance.multidiffusion import MultiDiffusion
from scenewright.guidance.paint import PaintWithWords
from scenewright.guidance.refocus import AttentionRefocusing
from scenewright.guidance.spatext import MultiScale, SpaText
from scenewright.guidance.tuned import tuned
from scenewright.guidance.zest import AttentionLoss, Zest

__all__ = [
    "METHODS",
    "AttendAndExcite",
    "AttentionLoss",
    "AttentionRefocusing",
    "BoxDiff",
    "ClassifierFree",
    "DenseDiffusion",
    "Descend",
    "ExternalClassifier",
    "Gligen",
    "LayoutGuidance",
    "MultiScale",
    "MultiDiffusion",
    "PaintWithWords",
    "SpaText",
    "Zest",
    "build",
    "parameters",
]

Factory = Callable[..., list[Guidance]]


@dataclass(frozen=True)
class Beginning:
    """The part of the run that ZestGuide and its like guide: the first `fraction` of it (the paper's tau), or the first
    `guided_steps` steps if given.
    """

    fraction: float = 0.5
    guided_steps: int | None = None

    def __post_init__(self) -> None:
        check_range("fraction", self.fraction, 0, 1)
        if self.guided_steps is not None:
            check_range("guided_steps", self.guided_steps, 0)


@dataclass(frozen=True)
class PaintWindow:
    """Paint-with-Words over the part of the run from `start` to `stop`, fractions of it; the paper's is the whole."""

    start: float = 0.0
    stop: float = 1.0

    def __post_init__(self) -> None:
        check_range("start", self.start, 0, 1)
        check_range("stop", self.stop, 0, 1)


# Innermost first: the order in which a method's parts are nested.
_PARTS: dict[str, tuple[type, ...]] = {
    "spatext": (SpaText,),
    "paint": (PaintWithWords, PaintWindow),
    "dense": (DenseDiffusion,),
    "zest": (Zest, Beginning),
    "classifier": (ExternalClassifier, Beginning),
    "cfg": (ClassifierFree,),
    "scales": (MultiScale,),
    "multidiffusion": (MultiDiffusion,),
    "attend": (AttendAndExcite,),
    "boxdiff": (BoxDiff,),
    "layout-guidance": (LayoutGuidance,),
    "refocus": (AttentionRefocusing,),
    "gligen": (Gligen,),
}


def _assemble(names: tuple[str, ...], /, **given: Any) -> list[Guidance]:
    """Build the parts `names` from parameters called "part.field" or just "field"; raises UserError for one that no
    part has.
    """
    values = {name: {} for name in names}
    for key, value in given.items():
        part, name = _place(key, names)
        values[part][name] = value
    return [_made(name, values[name]) for name in _PARTS if name in names]


METHODS: dict[str, Factory] = {
    "none": partial(_assemble, ("cfg",)),
    "paint": partial(_assemble, ("paint", "cfg")),
    "multidiffusion": partial(_assemble, ("cfg", "multidiffusion")),
    "zest": partial(_assemble, ("zest", "cfg")),
    "dense": partial(_assemble, ("dense", "cfg")),
    "classifier": partial(_assemble, ("classifier", "cfg")),
    "attend": partial(_assemble, ("cfg", "attend")),
    "boxdiff": partial(_assemble, ("cfg", "boxdiff")),
    "layout-guidance": partial(_assemble, ("cfg", "layout-guidance")),
    "spatext": partial(_assemble, ("spatext", "cfg")),
    "spatext-multi": partial(_assemble, ("spatext", "scales")),
    "refocus": partial(_assemble, ("cfg", "refocus")),
    "gligen": partial(_assemble, ("cfg", "gligen")),
    "boxdiff+gligen": partial(_assemble, ("cfg", "boxdiff", "gligen")),
    "refocus+gligen": partial(_assemble, ("cfg", "refocus", "gligen")),
    "zest+paint": partial(_assemble, ("paint", "zest", "cfg")),
}


# Layout methods that the benches compare unless told otherwise.
USUAL = ("none", "paint", "multidiffusion", "zest", "zest+paint")


def build(method: str, **given: Any) -> list[Guidance]:
    """The guidance of a method, innermost first. "zest,paint", "paint+zest" and "zest+paint" are the same method.

    `given` are parameters named "part.field" ("zest.eta") or "field" ("eta"); strings are converted. Raises UserError
    naming what is valid.
    """
    return METHODS[canonical(method)](**given)


def canonical(method: str) -> str:
    """The name in METHODS of a method or of a combination in any order; raises UserError if there is none."""
    wanted = {part.strip() for part in method.replace(",", "+").split("+")}
    for name in METHODS:
        if set(name.split("+")) == wanted:
            return name
    raise UserError(f"method '{method}' is not known; choose from {', '.join(METHODS)}.")


def parameters(method: str, model: str = "", family: str = "") -> dict[str, Any]:
    """Every parameter of a method, as "part.field", with its default: published, the family's, or tuned for `model`."""
    published = {
        f"{part}.{spec.name}": spec.default
        for part in METHODS[canonical(method)].args[0]  # pyright: ignore[reportFunctionMemberAccess]
        for kind in _PARTS[part]
        for spec in fields(kind)
    }
    return published | strengths(family, published) | tuned(model, canonical(method), published)


def _place(key: str, names: tuple[str, ...]) -> tuple[str, str]:
    """Which part a parameter belongs to, and its field there."""
    for part in names:
        for kind in _PARTS[part]:
            for spec in fields(kind):
                if key in (spec.name, f"{part}.{spec.name}"):
                    return part, spec.name
    valid = [f"{part}.{spec.name}" for part in names for kind in _PARTS[part] for spec in fields(kind)]
    raise UserError(f"parameter '{key}' is not known; this method has {', '.join(valid)}.")


def _made(part: str, values: Mapping[str, Any]) -> Guidance:
    made = []
    for kind in _PARTS[part]:
        hints = typing.get_type_hints(kind)
        own = {spec.name for spec in fields(kind)}
        made.append(kind(**{k: _converted(f"{part}.{k}", v, hints[k]) for k, v in values.items() if k in own}))
    match made:
        case [guidance, Beginning() as window]:
            return During(guidance, 0.0, window.fraction, window.guided_steps)
        case [guidance, PaintWindow() as window] if window != PaintWindow():
            return During(guidance, window.start, window.stop)
    return made[0]


def _converted(name: str, value: Any, hint: Any) -> Any:
    """Turn a string from the command line into the field's type, and refuse values of another type."""
    kinds = typing.get_args(hint) or (hint,)
    if type(None) in kinds and (value is None or value == "none"):
        return None
    for kind in kinds:
        if kind is bool and str(value).lower() in ("true", "false", "1", "0"):
            return str(value).lower() in ("true", "1")
        if kind in (int, float) and not isinstance(value, bool):
            try:
                return kind(value) if kind is float or int(value) == float(value) else _refuse(name, value, kind)
            except (TypeError, ValueError):
                _refuse(name, value, kind)
        if kind is str and isinstance(value, str):
            return value
        if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
            return tuple(str(item) for item in value)
    return _refuse(name, value, kinds[0])


def _refuse(name: str, value: Any, kind: Any) -> typing.NoReturn:
    wanted = {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "text")
    raise UserError(f"{name} is {value!r}; it must be {wanted}.")
