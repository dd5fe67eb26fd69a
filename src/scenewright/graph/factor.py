"""The structure of a factor graph: which variable is drawn under which. Pure data, checked when it is made."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from scenewright.denoiser import Guidance, Model
from scenewright.errors import UserError
from scenewright.maps import Codec

CAPTION = "caption"


@dataclass(frozen=True, eq=False)
class Factor:
    """P(variable | parents), drawn by a diffusion model that reads its condition's parents.

    `parents` are names of other variables; "caption" is the text. `codec` turns the variable's pictures into maps and
    back; without one children read its latents as they are. `guidance` (innermost first), `steps`, `solver`, `eta`,
    `negative` and `size` are those of `sample`; `prompt` is what the model reads, with the caption (nothing, where that
    is no parent) at "{caption}". Raises UserError for parents that make no sense, a prompt that leaves the caption out
    although it is a parent, or no steps.
    """

    variable: str
    parents: tuple[str, ...]
    model: Model
    codec: Codec | None = None
    guidance: tuple[Guidance, ...] = ()
    steps: int = 30
    solver: str = "ddim"
    eta: float = 0.0
    prompt: str = "{caption}"
    negative: str = ""
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "parents", tuple(self.parents))
        object.__setattr__(self, "guidance", tuple(self.guidance))
        if self.variable == CAPTION:
            raise UserError("a caption is not drawn; give it, and name another variable.")
        if self.variable in self.parents or len(set(self.parents)) < len(self.parents):
            raise UserError(f"the parents of '{self.variable}' are {self.parents}; name other variables, each once.")
        if CAPTION in self.parents and "{caption}" not in self.prompt:
            raise UserError(f"the prompt of '{self.variable}' leaves the caption out; write {{caption}} in it.")
        if self.steps < 1:
            raise UserError(f"'{self.variable}' cannot be drawn in {self.steps} steps; choose at least 1.")

    @property
    def maps(self) -> tuple[str, ...]:
        """The parents that are not the caption."""
        return tuple(parent for parent in self.parents if parent != CAPTION)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.size or self.model.size


@dataclass(frozen=True, eq=False)
class FactorGraph:
    """Factors whose product is the joint distribution of all variables (FG-DM eq. 3).

    `observed` are variables that are always given and never drawn, with their codecs; the caption is one without being
    named. Raises UserError when a variable has two factors, a parent has none, parents go round in a circle, or a
    picture and its map differ in shape.
    """

    factors: tuple[Factor, ...]
    observed: Mapping[str, Codec | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", tuple(self.factors))
        object.__setattr__(self, "observed", {CAPTION: None, **self.observed})
        names = [factor.variable for factor in self.factors]
        if not names:
            raise UserError("a factor graph needs at least one factor.")
        for name in names:
            if names.count(name) > 1 or name in self.observed:
                raise UserError(f"'{name}' is drawn by two factors or observed as well; keep one of them.")
        for factor in self.factors:
            for parent in factor.parents:
                if parent not in names and parent not in self.observed:
                    raise UserError(
                        f"'{factor.variable}' has the parent '{parent}', which no factor draws; add its factor, or "
                        "name it in observed."
                    )
        self._check_shapes()
        _ = self.order

    def __getitem__(self, variable: str) -> Factor:
        """The factor that draws a variable; raises UserError if there is none."""
        for factor in self.factors:
            if factor.variable == variable:
                return factor
        raise UserError(f"no factor draws '{variable}'; this graph draws {', '.join(self.variables)}.")

    @property
    def variables(self) -> tuple[str, ...]:
        """What is drawn, as listed."""
        return tuple(factor.variable for factor in self.factors)

    @property
    def order(self) -> tuple[Factor, ...]:
        """The factors, each after its parents; otherwise as listed."""
        done, left = list[Factor](), list(self.factors)
        while left:
            waiting = {factor.variable for factor in left}
            ready = [factor for factor in left if not waiting & set(factor.parents)]
            if not ready:
                raise UserError(f"the parents of {', '.join(sorted(waiting))} go round in a circle; take one away.")
            done += ready
            left = [factor for factor in left if factor not in ready]
        return tuple(done)

    def codec(self, variable: str) -> Codec | None:
        """The codec of a drawn or observed variable."""
        return self.observed[variable] if variable in self.observed else self[variable].codec

    def descendants(self, variables: Collection[str]) -> tuple[str, ...]:
        """What is drawn under any of the variables, directly or not, in order."""
        found = set(variables)
        for factor in self.order:
            if found & set(factor.parents):
                found.add(factor.variable)
        return tuple(factor.variable for factor in self.order if factor.variable in found - set(variables))

    def needed(self, given: Collection[str], wanted: Sequence[str] = ()) -> tuple[Factor, ...]:
        """The factors that must run, in order, to draw `wanted` (default: all variables) when some are given.

        Raises UserError when a variable is unknown, given and wanted, missing though observed, or given for nothing.
        """
        for name in (*given, *wanted):
            if name not in self.observed:
                _ = self[name]
        both = [name for name in wanted if name in given]
        if both:
            raise UserError(f"'{both[0]}' is given, so it need not be drawn; leave it out of one of the two.")
        targets = list(wanted) or [name for name in self.variables if name not in given]
        used, running = set[str](), list[Factor]()
        for factor in reversed(self.order):
            if factor.variable not in given and (factor.variable in targets or factor.variable in used):
                running.append(factor)
                used |= set(factor.parents)
        absent = [name for name in used if name in self.observed and name not in given]
        if absent:
            raise UserError(f"'{sorted(absent)[0]}' is not given, and no factor draws it; give it.")
        useless = [name for name in given if name not in used]
        if useless:
            raise UserError(f"'{useless[0]}' is given, but nothing that is to be drawn depends on it; leave it out.")
        return tuple(reversed(running))

    def _check_shapes(self) -> None:
        for factor in self.factors:
            for name in factor.maps:
                if name in self.variables:
                    (h, w), (height, width) = factor.shape, self[name].shape
                    if h * width != w * height:
                        raise UserError(
                            f"'{factor.variable}' is {w}x{h} pixels and its parent '{name}' {width}x{height}; "
                            "give both the same proportions."
                        )
