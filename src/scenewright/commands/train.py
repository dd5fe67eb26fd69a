"""`scenewright train`: rebuild an embedded model from its recipe, resumably."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from scenewright.commands.progress import progress
from scenewright.commands.world import cache_folder
from scenewright.errors import UserError

app = App(name="train", help="Rebuild an embedded model from its recipe.")
Several = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")]
Name = Literal[
    "autoencoder", "embedded", "segmenter", "clip", "classifier", "spatext",
    "oasis", "semantic", "features", "second-judge", "all",
]  # fmt: skip
STAGES = {"embedded": 2, "spatext": 4, "all": 6}  # of training behind one name: readers and encoders count too
BASE = ("autoencoder", "embedded", "segmenter", "clip", "classifier")  # what "all" trains


@app.default
def train(
    name: Name,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    scenes: int = 9500,
    steps: int = 0,
    minutes: float = 0.0,
    start: Path | None = None,
    compiled: Annotated[bool, Parameter(negative="")] = False,
    package_only: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train NAME on the reference world and write it as an ordinary model folder under OUT.

    Rendered scenes and checkpoints live in the cache folder ($SCENEWRIGHT_CACHE); the same command resumes after a
    kill at any point. --minutes stops early (and a later call goes on), --steps changes the length of the run,
    --package-only writes the model of the latest checkpoint. --start FOLDER goes on from the models in a folder (those
    of the package, say) where there is no checkpoint. --compiled makes the embedded model's steps about a fifth faster
    after two minutes of compiling; it needs a C++ compiler.
    """
    if not 500 <= scenes <= 1_000_000:
        raise UserError(f"{scenes} scenes do not suit training; give 500 to 1000000.")
    if steps < 0 or not 0 <= minutes < 1e6:
        raise UserError("--steps and --minutes cannot be negative; leave them out for the whole recipe.")
    from scenewright.training import recipes

    folder = cache_folder()
    target = out or folder / "models"
    with progress("training", 100 * STAGES.get(name, 1)) as advance:
        done: dict[str, int] = {}

        def say(part: str, step: int, of: int, loss: float) -> None:
            share = int(100 * step / of)
            advance(f"{part} step {step} of {of}, loss {loss:.4f}", max(0, share - done.get(part, 0)))
            done[part] = share

        shop = recipes.Workshop(folder, scenes, minutes or None, steps or None, start, compiled, say)
        for part in BASE if name == "all" else (name,):
            _one(shop, part, target, package_only)
    print(target, file=sys.stderr)
    return 0


@app.command
def factor(
    variable: str,
    *,
    parents: Several = (),
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    scenes: int = 9500,
    steps: int = 0,
    minutes: float = 0.0,
    widths: Annotated[tuple[int, ...], Parameter(consume_multiple=True, negative="")] = (),
    distil: float = 0.1,
    package_only: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train the factor P(VARIABLE | caption, parents) of a factor graph: small adapters beside the embedded model.

    VARIABLE and parents are segmentation, depth, normals, sketch, pose or (VARIABLE alone) image. Latents of the maps
    are computed once and kept in the cache folder with the checkpoints; the same command resumes after a kill.
    """
    if not 500 <= scenes <= 1_000_000:
        raise UserError(f"{scenes} scenes do not suit training; give 500 to 1000000.")
    if steps < 0 or not 0 <= minutes < 1e6:
        raise UserError("--steps and --minutes cannot be negative; leave them out for the whole recipe.")
    from scenewright.graph.workshop import Bench, Commission, package_factor, train_factor
    from scenewright.world import cache

    wanted = Commission(variable, parents, widths, distil)
    folder = cache_folder()
    with progress("training", 100) as advance:

        def say(part: str, step: int, of: int, loss: float) -> None:
            advance(f"{part} step {step} of {of}, loss {loss:.4f}", 0)

        bench = Bench(folder, cache.build(range(scenes), folder / "world"), minutes or None, steps or None, say)
        if not package_only:
            train_factor(bench, wanted)
        target = (out or folder / "models" / "factors") / wanted.name
        package_factor(bench, wanted, target)
    print(target, file=sys.stderr)
    return 0


def _one(shop, part: str, target: Path, package_only: bool) -> None:  # noqa: ANN001 - a Workshop, imported late
    from scenewright.training import recipes, spatext_recipe

    if part in ("oasis", "semantic", "features", "second-judge"):
        _for_transfer(shop, part, target / part, package_only)
        return
    if not package_only:
        if part == "autoencoder":
            recipes.train_autoencoder(shop)
        elif part == "embedded":
            recipes.train_embedded(shop)
        elif part == "spatext":
            spatext_recipe.train(shop)
        else:
            recipes.train_judge(shop, part)
    if part == "embedded":
        recipes.package_embedded(shop, target / "embedded")
    elif part == "spatext":
        spatext_recipe.package(shop, target / "spatext")
    elif part != "autoencoder":
        recipes.package_judge(shop, part, target / part)


def _for_transfer(shop, part: str, folder: Path, package_only: bool) -> None:  # noqa: ANN001 - a Workshop
    """The models of transfer, which "all" leaves out: they take hours of their own."""
    from scenewright.training import features, semantic, sources

    if shop.start:
        raise UserError(f"--start does not go with {part}; its run resumes its own checkpoint.")
    if part == "oasis":
        sources.package_oasis(shop, folder, None if package_only else sources.train_oasis(shop))
        return
    train, package = {
        "semantic": (semantic.train_semantic, semantic.package_semantic),
        "features": (features.train_features, features.package_features),
        "second-judge": (sources.train_second_judge, sources.package_second_judge),
    }[part]
    if not package_only:
        train(shop)
    package(shop, folder)
