"""The library in a few calls: `generate` pictures of a scene, `replay` a picture from its record.

Both go through `draw`, which takes records and nothing else: what is recorded is what is drawn.
"""

import difflib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from scenewright.adherence import adherence
from scenewright.backends import PRESETS, load
from scenewright.denoiser import Model
from scenewright.display import png_bytes
from scenewright.errors import UserError
from scenewright.families import refuse
from scenewright.fitting import fitted
from scenewright.guidance import METHODS, build, canonical, parameters
from scenewright.record import ModelIdentity, Record, digest, read_record, save_picture, versions
from scenewright.sampling import SOLVERS, Draws, sample
from scenewright.scene import Scene
from scenewright.scene_io import SceneDocument

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawn picture (RGB) and the record that draws it again."""

    image: Image.Image
    record: Record

    def save(self, path: Path | str) -> Path:
        """Write a .png with the record inside and a .json with it beside; raises UserError if it cannot."""
        return save_picture(self.image, self.record, Path(path))

    def _repr_png_(self) -> bytes:
        return png_bytes(self.image)


@dataclass(frozen=True)
class Settings:
    """What to draw a scene with, beside the model; every value is checked here.

    `guidance` is a method of `guidance.METHODS` or parts joined by commas. `parameters` are called
    "zest.eta", "zest_eta" or "eta". `solver`, `eta`, `negative` are the sampler's. `together` draws all
    seeds of a scene in one batch.
    """

    guidance: str | Sequence[str] = "zest"
    steps: int = 30
    seed: int = 0
    count: int = 1
    negative: str = ""
    solver: str = "ddim"
    eta: float = 0.0
    together: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 1000:
            raise UserError(f"steps is {self.steps}; choose between 1 and 1000")
        if self.count < 1:
            raise UserError(f"count is {self.count}; ask for at least one picture")
        if not 0 <= self.seed <= 2**63 - self.count:
            raise UserError(f"seed is {self.seed}; choose a whole number from 0 up")
        if not 0.0 <= self.eta <= 1.0:
            raise UserError(f"eta is {self.eta}; choose between 0 (deterministic) and 1 (ancestral)")
        if self.solver not in SOLVERS:
            raise UserError(f"solver {self.solver!r} is not known; choose from {', '.join(SOLVERS)}")
        build(self.method, **self.complete())

    @property
    def method(self) -> str:
        """The canonical name of the guidance."""
        name = self.guidance if isinstance(self.guidance, str) else ",".join(self.guidance)
        try:
            return canonical(name)
        except UserError as error:
            raise UserError(f"{str(error).rstrip('.')}{meant(name, METHODS)}") from error

    def complete(self, model: str = "", family: str = "") -> dict[str, Any]:
        """Every parameter by its full name, as JSON holds it: the given value, or the default for the model or family.

        A default that asks for noise is dropped beside a solver that adds none.
        """
        known = parameters(self.method, model, family)
        if self.solver != "ddim":
            known |= dict.fromkeys((name for name in known if name.endswith(".ddim_eta")), None)
        given = {full_name(name, known): value for name, value in self.parameters.items()}
        return json.loads(json.dumps(known | given, default=str))


def full_name(name: str, known: Mapping[str, Any]) -> str:
    """The parameter of `known` that "zest.eta", "zest_eta" or "eta" names; raises UserError unless exactly one."""
    matches = [full for full in known if name in (full, full.replace(".", "_", 1), full.partition(".")[2])]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UserError(f"parameter {name!r} could be {' or '.join(matches)}; write the whole name")
    raise UserError(f"parameter {name!r} is not known; this method has {', '.join(known)}{meant(name, known)}")


def meant(word: str, choices: Mapping[str, Any] | Sequence[str]) -> str:
    """ "; did you mean 'zest'?" for the choice nearest to a mistyped word, or nothing."""
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def generate(
    scene: Scene,
    model: "str | Path | Model | Any" = "embedded",
    guidance: str | Sequence[str] = "zest",
    steps: int = 30,
    seed: int = 0,
    count: int = 1,
    *,
    negative: str = "",
    solver: str = "ddim",
    eta: float = 0.0,
    together: bool = False,
    progress: Progress | None = None,
    **parameters: Any,
) -> list[Picture]:
    """Draw `count` pictures of a scene with the seeds `seed`, `seed + 1`, …

    `model` is a preset, a folder, a hub id, a diffusers pipeline or a loaded Model. `guidance` names a method: "none",
    "paint", "multidiffusion", "zest" or "zest+paint"; `parameters` are the method's, as in `zest_eta=0.5` or
    `cfg_scale=3`. `eta` is the sampler's. `progress(done, steps)` is called at every step of a batch.
    Raises UserError for a bad value, in a sentence that says how to mend it.
    """
    settings = Settings(guidance, steps, seed, count, negative, solver, eta, together, parameters)
    loaded, source = opened(model)
    batches = plan(loaded, source, scene, settings)
    for note in batches[0][0].notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    return [picture for batch in batches for picture in draw(loaded, batch, progress)]


def opened(model: "str | Path | Model | Any") -> tuple[Model, str]:
    """A loaded model and what to call it in a record ("" if only the caller can load it again)."""
    if not isinstance(model, str | Path):
        return (model if hasattr(model, "denoise") else load(model)), ""
    name = str(model)
    try:
        loaded = load(name)
    except UserError as error:
        raise UserError(f"{str(error).rstrip('.')}{meant(name, PRESETS)}") from error
    return loaded, str(Path(name).resolve()) if name not in PRESETS and Path(name).exists() else name


def plan(model: Model, source: str, scene: Scene, settings: Settings) -> list[list[Record]]:
    """The records to draw, in batches: one record a batch, or all seeds in one with `settings.together`."""
    seeds = range(settings.seed, settings.seed + settings.count)
    batches = [tuple(seeds)] if settings.together else [(seed,) for seed in seeds]
    facts = model.facts()
    refuse(settings.method, facts.refused)
    fitting, unread = fitted(scene.drawable(), facts)
    identity = ModelIdentity.model_validate({**model.identity(), "source": source})
    shared = {
        "model": identity,
        "scene": SceneDocument.from_scene(replace(fitting, maps={})),  # no method here reads maps
        "guidance": settings.method,
        "parameters": settings.complete(identity.name, identity.family),
        "negative": settings.negative,
        "solver": settings.solver,
        "eta": settings.eta,
        "steps": settings.steps,
        "notes": tuple(f"left out, past the model's token limit: {text}" for text in unread),
    }
    return [[Record(**shared, seed=seed, batch=batch) for seed in batch] for batch in batches]


def draw(model: Model, records: Sequence[Record], progress: Progress | None = None) -> list[Picture]:
    """Draw one batch: records that differ only in their seed. `progress` is called with (steps done, steps)."""
    start = time.perf_counter()
    draws = drawn(model, records[0], progress=progress)
    seconds = (time.perf_counter() - start) / len(draws)
    return [_picture(draws, records[0].batch.index(record.seed), record, seconds) for record in records]


def drawn(model: Model, record: Record, layers: str | None = None, progress: Progress | None = None) -> Draws:
    """The whole batch of a record, and its attention at the named layers (see `attention.select`) if any are named."""
    return sample(
        model,
        record.scene.scene(),
        build(record.guidance, **record.parameters),
        record.steps,
        record.batch,
        record.solver,
        record.eta,
        negative=record.negative,
        record_attention=layers,
        progress=progress,
    )


def _picture(draws: Draws, row: int, record: Record, seconds: float) -> Picture:
    image = Image.fromarray(draws.images[row])
    outcome = {
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "pixels": digest(image),
        "adherence": adherence(image, record.scene.scene()) if record.model.name == "embedded" else (),
        "seconds": round(seconds, 3),
        "notes": tuple(dict.fromkeys([*record.notes, *(f"added to the caption: {p}" for p in draws.appended[row])])),
    }
    return Picture(image, record.model_copy(update=outcome))


def attention(
    scene: Scene, model: "str | Path | Model | Any" = "embedded", layers: str = "all", **settings: Any
) -> tuple[Picture, np.ndarray]:
    """A picture and where each segment's phrase attended meanwhile: (steps, K, rows, columns), shares in [0, 1].

    `settings` are the fields of `Settings`. Draw the maps with `display.attention_sheet`.
    """
    loaded, source = opened(model)
    return attended(loaded, plan(loaded, source, scene, Settings(**settings))[0][0], layers)


def attended(
    model: Model, record: Record, layers: str = "all", progress: Progress | None = None
) -> tuple[Picture, np.ndarray]:
    """Draw a record and keep the attention of its segments, as `attention` does."""
    row = record.batch.index(record.seed)
    draws = drawn(model, record, layers, progress)
    assert draws.attention is not None
    return _picture(draws, row, record, 0.0), draws.attention[:, row, : len(record.scene.segments)]


def replay(record: "Record | Path | str", model: "str | Path | Model | Any | None" = None) -> Picture:
    """Draw a picture again from its record, or from a file that holds one.

    On the machine that drew it, with the same versions, it is equal bit for bit; `differences` tells what has changed.
    `model` overrides where the model is looked for. Raises UserError if the record names no model that can be loaded.
    """
    record = record if isinstance(record, Record) else read_record(record)
    if model is None and not record.model.source:
        raise UserError("the record's model was an object in memory; say where it is now with model=")
    loaded, source = opened(record.model.source if model is None else model)
    now = ModelIdentity.model_validate({**loaded.identity(), "source": source})
    with _threads(record.threads):
        return draw(loaded, [record.model_copy(update={"model": now})])[0]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """As many threads as then: sums are split by thread, so their rounding depends on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def differences(before: Record, after: Record) -> list[str]:
    """What changed between two drawings of one record that may change pixels, a sentence each."""
    found = []
    if before.model.sha256 != after.model.sha256:
        found.append(f"the weights differ ({before.model.sha256[:12]} then, {after.model.sha256[:12]} now)")
    if before.model.dtype != after.model.dtype:
        found.append(f"the precision differs ({before.model.dtype} then, {after.model.dtype} now)")
    for name, version in before.versions.items():
        now = after.versions.get(name, "unknown")
        if now != version:
            found.append(f"{name} was {version} then and is {now} now")
    return found
