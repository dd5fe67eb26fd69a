"""`scenewright generate`: draw scenes into a folder."""

import json as json_module
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from scenewright.commands.progress import progress
from scenewright.errors import UserError

if TYPE_CHECKING:
    from scenewright.runs import Summary

app = App(name="generate", help="Draw scenes into a folder; run it again to resume.")
SHOWN = 8  # findings, failures and words printed before "and N more"


@app.default
def generate(
    *scenes: Path,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    guidance: str = "",
    steps: int = 30,
    seed: int = 0,
    count: int = 1,
    model: str = "embedded",
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
    negative: str = "",
    solver: str = "ddim",
    eta: float = 0.0,
    batch: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    labels: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Draw every scene with every seed: NAME_SEED.png with its record inside, and NAME_SEED.json beside it.

    Finished pictures are skipped, so the same command resumes. Exit code 1 if a scene failed; the others are drawn.

    Args:
        scenes: Scene files, or folders of them.
        out: The folder for pictures and summary.json.
        guidance: Method, or several joined by commas: none, paint, multidiffusion, zest, zest+paint, dense,
            attend, boxdiff, layout-guidance, refocus, classifier, spatext, spatext-multi; on GLIGEN models also gligen,
            boxdiff+gligen, refocus+gligen. Default: zest; none for models that read label maps.
        steps: Denoising steps per picture.
        seed: Seed of the first picture of each scene.
        count: Pictures per scene, with the seeds that follow.
        model: Preset, folder in diffusers form, or hub id.
        set_: A parameter of a method, as in --set zest.eta=0.5; may be repeated.
        negative: Negative prompt.
        solver: ddim, euler or dpm++2m.
        eta: Noise added by ddim at each step: 0 none, 1 ancestral.
        batch: Draw all seeds of a scene together: quicker, needs more memory.
        json: Print the summary as JSON.
        labels: The scenes are label pictures of the classes of a model that reads label maps (`scenewright transfer`).
    """
    from scenewright.api import Settings, opened
    from scenewright.runs import Run, entries, label_entries

    if not scenes:
        raise UserError("no scene given; name scene files or folders")
    settings = Settings(guidance or "zest", steps, seed, count, negative, solver, eta, batch, assignments(set_))
    loaded, source = opened(model)
    own = getattr(loaded, "label_set", None)
    if own is not None and not guidance:
        settings = replace(settings, guidance="none")
    if labels and own is None:
        raise UserError(f"{model} reads no label pictures; leave --labels out, or name a model that does")
    found = label_entries(scenes, own) if labels and own is not None else entries(scenes)
    with progress("drawing", len(found.sources) * count) as told:
        summary = Run(loaded, source, settings, out, told).draw_all(found)
    if json:
        print(json_module.dumps(summary.model_dump(mode="json")))
    else:
        report(summary, out)
    return 1 if summary.failed else 0


def assignments(texts: Sequence[str]) -> dict[str, Any]:
    """`zest.eta=0.5` as {"zest.eta": 0.5}: numbers, true, false and null as in JSON, anything else is text."""
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or "." not in name:
            raise UserError(f"--set {text!r} is not METHOD.PARAMETER=VALUE; write it like --set zest.eta=0.5")
        try:
            values[name.strip()] = json_module.loads(value)
        except ValueError:
            values[name.strip()] = value.strip()
    return values


def report(summary: "Summary", out: Path) -> None:
    """Print a summary for people: results on stdout, what went wrong on stderr."""
    loud = [warned for warned in summary.warnings if warned.severity != "note"]
    for warned in loud[:SHOWN]:
        print(f"{warned.scene}: {warned.message}", file=sys.stderr)
    for failure in summary.failed[:SHOWN]:
        print(f"{failure.scene}: failed: {failure.reason}", file=sys.stderr)
    hidden = max(0, len(loud) - SHOWN) + max(0, len(summary.failed) - SHOWN)
    if hidden:
        print(f"and {hidden} more, listed in {out / 'summary.json'}", file=sys.stderr)
    print(f"{summary.pictures} pictures drawn, {summary.skipped} already there, in {out} ({summary.seconds:.1f} s)")
    left = f", {len(summary.left_out)} files and folders left out" if summary.left_out else ""
    print(f"{len(summary.failed)} of {summary.scenes} scenes failed, {summary.findings} lint findings{left}")
    words = [f"{word} ({times})" for word, times in list(summary.unknown_words.items())[:SHOWN]]
    if words:
        more = len(summary.unknown_words) - len(words)
        print("words the model does not know: " + ", ".join(words) + (f" and {more} more" if more else ""))
