"""`scenewright eval`: one command, the whole table."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from scenewright.commands.bench import parameters_from, words_of
from scenewright.commands.progress import progress
from scenewright.errors import UserError

if TYPE_CHECKING:
    from scenewright.bench.rows import Row
    from scenewright.denoiser import Model
    from scenewright.evaluation.plan import Plan
    from scenewright.evaluation.run import Run

app = App(name="eval", help="Compare methods on equal terms, in a folder that can be resumed.")
FORMS = {".json": "json", ".md": "md", ".csv": "csv", ".tex": "tex", ".html": "html", ".png": "png"}


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
    ablate: str = "",
    set_: Annotated[tuple[str, ...], Parameter(name="--set", consume_multiple=False)] = (),
) -> int:
    """Draw the scenes of a protocol by every method and print the table; run it again to resume.

    Several processes may share a folder: `accelerate launch` says which part is whose, or --shard does. The one that
    finds everything finished writes the table.

    Args:
        out: Folder of the run: scenes, pictures, what the judges saw.
        protocol: few: 1 to 3 segments over 5 % of the picture; few-1, few-2, few-3: just so many; filtered: every
            segment over 5 %; all: every segment; captions: none.
        methods: Comma list of methods, or all that the model takes; "renders" scores the scenes' own renders.
        data: world, a folder of scenes, or label pictures as ade20k:FOLDER, cityscapes:FOLDER, coco-stuff:FOLDER;
            or prompts:FILE.
        samples: The most scenes.
        json: Where the rows go as JSON too.
        report: A file for the table: .md, .csv, .tex, .json, .png (a plot), or .html with the pictures side by side,
            worst first; may be given many times.
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
        ablate: Vary one choice of ZestGuide instead of comparing methods: layers, granularity, loss, strength,
            fraction, seeds, segments; several as layers,granularity.
        set_: A parameter of a method, as zest.eta=0.5; may be given many times.
    """
    from scenewright.evaluation.plan import Plan

    reports = [*report, *([json] if json else [])]
    for path in reports:
        if path.suffix not in FORMS:
            raise UserError(f"{path} has no form that fits; end it in {', '.join(FORMS)}.")
        if ablate and path.suffix == ".html":
            raise UserError(f"{path} is for methods, and an ablation has one; leave the page out, or --ablate.")
    plan = Plan(protocol, data, samples, split, seed, steps, batch, reference, parameters_from(set_))
    return _run(Job(out, plan, model, dtype, judge, methods, ablate, shard_of(shard)), reports)


@dataclass(frozen=True)
class Job:
    """What the user asked for."""

    out: Path
    plan: "Plan"
    model: str
    dtype: str
    judge: str
    methods: str
    ablate: str
    shard: tuple[int, int]

    def named(self, model: "Model") -> tuple[str, ...]:
        """The methods to compare on a model."""
        from scenewright.evaluation.plan import RENDERS
        from scenewright.guidance import METHODS

        taken = tuple(name for name in METHODS if name in model.facts().guidance)
        every = (*taken, RENDERS) if self.plan.data == "world" else taken
        return every if self.methods.strip() == "all" else words_of(self.methods)


def _run(job: Job, reports: Sequence[Path]) -> int:
    from scenewright.backends import load
    from scenewright.bench.scoring import Judges
    from scenewright.evaluation.ablations import ablate, variants
    from scenewright.evaluation.run import Run
    from scenewright.evaluation.table import COLUMNS, rows, text_of

    model, plan, run = load(job.model, job.dtype), job.plan, None
    judges = Judges.with_segmenter(job.judge) if job.judge else Judges.embedded()
    named, varied = job.named(model), words_of(job.ablate) if job.ablate else ()
    columns = sum(len(variants(name, model)) for name in varied) if varied else len(named)
    with progress(f"eval {plan.protocol}", plan.samples * (columns + 1) // job.shard[1] + plan.reference) as told:
        if varied:
            tables = [ablate(name, job.out, plan, model, judges, job.shard, told) for name in varied]
            table = None if None in tables else [row for rows in tables for row in rows or ()]
        else:
            run = Run(job.out, plan, model, judges, told)
            run.work(named, job.shard)
            table = None if run.missing(named) else rows(run, named)
    if table is None:
        print("parts are left to other processes; run the command again if they have stopped.")
        return 0
    shown = ("ablation", "variant", *COLUMNS[2:], "published_miou", "published_fid") if varied else COLUMNS
    for path in reports:
        _write(path, run, table, shown)
    print(text_of(table, "md", shown), end="")
    return 0


def shard_of(text: str) -> tuple[int, int]:
    """(index, count) from "0/2", or from what a launcher says; raises UserError for anything else."""
    if not text:
        return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise UserError(f"shard '{text}' is not of the form 0/2; count from 0.")
    return int(index), int(count)


def _write(path: Path, run: "Run | None", table: Sequence["Row"], columns: Sequence[str]) -> None:
    from scenewright.bench.rows import write_json
    from scenewright.evaluation.page import page
    from scenewright.evaluation.plots import plot
    from scenewright.evaluation.table import text_of
    from scenewright.files import write_atomically

    form = FORMS[path.suffix]
    if form == "json":
        write_json(path, table)
    elif form == "png":
        write_atomically(path, plot(table))
    else:
        text = page(run, table, path.parent) if form == "html" and run else text_of(table, form, columns)
        write_atomically(path, text.encode())
