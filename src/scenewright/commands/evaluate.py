"""`scenewright eval`: one command, the whole table."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from scenewright.commands.bench import parameters_from, words_of
from scenewright.commands.progress import progress
from scenewright.errors import UserError

if TYPE_CHECKING:
    from scenewright.bench.rows import Row
    from scenewright.evaluation.plan import Plan
    from scenewright.evaluation.run import Run

app = App(name="eval", help="Compare methods on equal terms, in a folder that can be resumed.")
FORMS = {".json": "json", ".md": "md", ".csv": "csv", ".tex": "tex", ".html": "html"}


@app.default
def evaluate(
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    protocol: str = "few",
    methods: str = "all",
    data: str = "world",
    samples: int = 512,
    json: Annotated[Path | None, Parameter(name="--json")] = None,
    report: Annotated[tuple[Path, ...], Parameter(consume_multiple=False)] = (),
    split: str = "test",
    model: str = "embedded",
    dtype: str = "float32",
    seed: int = 0,
    steps: int = 30,
    batch: int = 16,
    reference: int = 1000,
    shard: str = "",
    judge: str = "",
    set_: Annotated[tuple[str, ...], Parameter(name="--set", consume_multiple=False)] = (),
) -> int:
    """Draw the scenes of a protocol by every method and print the table; run it again to resume.

    Several processes may share a folder: `accelerate launch` says which part is whose, or --shard does. The one that
    finds everything finished writes the table.

    Args:
        out: Folder of the run: scenes, pictures, what the judges saw.
        protocol: few: 1 to 3 segments over 5 % of the picture; filtered: every segment over 5 %; all: every segment.
        methods: Comma list of methods, or all; "renders" scores the scenes' own renders.
        data: world, or a folder of scenes.
        samples: The most scenes.
        json: Where the rows go as JSON too.
        report: A file for the table: .md, .csv, .tex, .json, or .html with the pictures side by side, worst first; may
            be given many times.
        split: test to report, validation to tune; of the world.
        model: Preset or folder of the model to measure.
        dtype: Precision of its weights; bfloat16 is nearly twice as fast on processors that have it.
        seed: Noise seed of the first picture.
        steps: Sampling steps of a picture.
        batch: Pictures drawn together.
        reference: Renders that FID, KID, precision and recall compare with.
        shard: Which part this process draws, as 0/2; by default what `accelerate launch` says.
        judge: Folder or hub id of a segmentation network (Mask2Former, OneFormer, Segformer, ...) that judges layouts
            in place of the embedded one; segment texts are matched with its class names.
        set_: A parameter of a method, as zest.eta=0.5; may be given many times.
    """
    from scenewright.evaluation.plan import Plan

    reports = [*report, *([json] if json else [])]
    for path in reports:
        if path.suffix not in FORMS:
            raise UserError(f"{path} has no known suffix; end it in {', '.join(FORMS)}.")
    plan = Plan(protocol, data, samples, split, seed, steps, batch, reference, parameters_from(set_))
    return _run(out, plan, (model, dtype), judge, methods, shard_of(shard), reports)


def _run(
    out: Path,
    plan: "Plan",
    model: tuple[str, str],
    judge: str,
    methods: str,
    shard: tuple[int, int],
    reports: Sequence[Path],
) -> int:
    from scenewright.backends import load
    from scenewright.bench.scoring import Judges
    from scenewright.evaluation.plan import RENDERS
    from scenewright.evaluation.run import Run
    from scenewright.evaluation.table import rows, text_of
    from scenewright.guidance import METHODS

    every = (*METHODS, RENDERS) if plan.data == "world" else tuple(METHODS)
    named = every if methods.strip() == "all" else words_of(methods)
    with progress(f"eval {plan.protocol}", plan.samples * (len(named) + 1) // shard[1] + plan.reference) as told:
        judges = Judges.with_segmenter(judge) if judge else Judges.embedded()
        run = Run(out, plan, load(*model), judges, told)
        run.work(named, shard)
        left = run.missing(named)
        if left:
            print(f"{len(left)} parts are left to other processes; run the command again if they have stopped.")
            return 0
        table = rows(run, named)
    for path in reports:
        _write(path, FORMS[path.suffix], run, table)
    print(text_of(table, "md"), end="")
    return 0


def shard_of(text: str) -> tuple[int, int]:
    """(index, count) from "0/2", or from what a launcher says; raises UserError for anything else."""
    if not text:
        return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise UserError(f"shard '{text}' is not of the form 0/2; count from 0.")
    return int(index), int(count)


def _write(path: Path, form: str, run: "Run", table: Sequence["Row"]) -> None:
    from scenewright.bench.rows import write_json
    from scenewright.evaluation.page import page
    from scenewright.evaluation.table import text_of
    from scenewright.files import write_atomically

    if form == "json":
        write_json(path, table)
    else:
        text = page(run, table, path.parent) if form == "html" else text_of(table, form)
        write_atomically(path, text.encode())
