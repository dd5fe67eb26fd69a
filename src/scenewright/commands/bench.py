"""`scenewright bench embedded|layout|real|gallery`: measure models and methods."""

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from scenewright.commands.progress import progress
from scenewright.errors import UserError

app = App(name="bench", help="Measure methods and models.")
JsonFile = Annotated[Path | None, Parameter(name="--json")]
Settings = Annotated[list[str] | None, Parameter(name="--set", negative="", consume_multiple=False)]


@app.command
def embedded(
    samples: int = 500,
    json: JsonFile = None,
    model: str = "embedded",
    dtype: str = "float32",
    seed: int = 0,
    steps: int = 30,
    cards: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Measure the embedded models on held-out scenes: pictures drawn from captions alone.

    Parameters
    ----------
    samples
        How many held-out scenes.
    json
        Where the figures go, as one JSON object; they are printed in any case.
    model
        Preset or folder of the model to measure.
    dtype
        Precision of its weights; bfloat16 is nearly twice as fast on processors that have it.
    seed
        Noise seed of the first picture.
    steps
        Sampling steps of a picture.
    cards
        Write the figures into the cards of the embedded models too.
    """
    from scenewright.backends import load
    from scenewright.bench.embedded import measure, steps_of
    from scenewright.bench.rows import finite, write_json
    from scenewright.bench.scoring import Judges

    with progress("bench embedded", steps_of(samples)) as told:
        figures = measure(load(model, dtype), Judges.embedded(), samples, seed, steps, told=told)
    if json is not None:
        write_json(json, figures)
    if cards:
        from scenewright.judges import MODELS
        from scenewright.training.card import refresh

        for name in ("embedded", "segmenter", "clip"):
            refresh(MODELS / name, finite(figures))
    print(json_module.dumps(finite(figures), indent=1))
    return 0


@app.command
def layout(
    setting: str = "few",
    samples: int = 256,
    json: JsonFile = None,
    methods: str = "",
    split: str = "test",
    model: str = "embedded",
    dtype: str = "float32",
    seed: int = 0,
    steps: int = 30,
    batch: int = 16,
    reference: int = 1000,
    set_: Settings = None,
) -> int:
    """Measure every method on held-out scenes; rows already in the JSON file are not measured again.

    Parameters
    ----------
    setting
        few: 1 to 3 object segments over 5 % of the picture; filtered: every segment over 5 %; all: every segment.
    samples
        How many scenes.
    json
        Where the rows go; a row is written as soon as it is measured.
    methods
        Comma list of methods; "renders" scores the scenes' own renders. All of them if empty.
    split
        test to report, validation to tune.
    model
        Preset or folder of the model to measure.
    dtype
        Precision of its weights; bfloat16 is nearly twice as fast on processors that have it.
    seed
        Noise seed of the first picture.
    steps
        Sampling steps of a picture.
    batch
        Pictures drawn together.
    reference
        Renders that FID compares with.
    set_
        A parameter of a method, as zest.eta=0.5; may be given many times.
    """
    from scenewright.backends import load
    from scenewright.bench.layout import COLUMNS, DEFAULT_METHODS, Plan, measure, steps_of
    from scenewright.bench.rows import table
    from scenewright.bench.scoring import Judges

    named = words_of(methods) or DEFAULT_METHODS
    plan = Plan(setting, samples, named, split, seed, steps, batch, reference, parameters_from(set_ or ()))
    with progress(f"bench layout {setting}", steps_of(plan)) as told:
        rows = list(measure(load(model, dtype), Judges.embedded(), plan, json, told))
    print(table(rows, COLUMNS))
    return 0


@app.command
def real(
    data: Path,
    json: JsonFile = None,
    methods: str = "",
    model: str = "embedded",
    dtype: str = "float32",
    seed: int = 0,
    steps: int = 30,
    batch: int = 16,
) -> int:
    """Read, lint and draw layouts that people made for other systems, with every method.

    Parameters
    ----------
    data
        The folder that holds densediffusion_layouts, zestguide_layouts and coco_val100_layouts, or some of them.
    json
        Where the rows go; a row is written as soon as it is measured.
    methods
        Comma list of methods; all of them if empty.
    model
        Preset or folder of the model to measure.
    dtype
        Precision of its weights; bfloat16 is nearly twice as fast on processors that have it.
    seed
        Noise seed of the first picture.
    steps
        Sampling steps of a picture.
    batch
        Pictures drawn together.
    """
    from scenewright.backends import load
    from scenewright.bench import real as bench
    from scenewright.bench.layout import COLUMNS
    from scenewright.bench.rows import table
    from scenewright.bench.scoring import Judges
    from scenewright.guidance import USUAL

    loaded = load(model, dtype)
    named = words_of(methods) or USUAL
    parts = bench.collections(data, loaded)
    with progress("bench real", bench.steps_of(parts, named)) as told:
        rows = list(
            bench.measure(
                loaded, Judges.embedded(), parts, json, methods=named, seed=seed, steps=steps, batch=batch, told=told
            )
        )
    for part in parts:
        print(f"{part.name}: {len(part.scenes)} layouts, {len(part.failed)} failed, {part.findings} findings, ", end="")
        print(f"{part.dropped} segments past the token limit dropped, ", end="")
        print(f"words covered {part.covered} of {part.texts} ({part.coverage:.1%})")
        for name, reason in part.failed.items():
            print(f"  {name}: {reason}")
    texts, covered = sum(part.texts for part in parts), sum(part.covered for part in parts)
    print(f"covered by the world's vocabulary: {covered} of {texts} segment texts ({covered / max(1, texts):.1%})")
    print(table(rows, (*COLUMNS, "coverage")))
    return 1 if any(part.failed for part in parts) else 0


@app.command
def gallery(
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    scenes: int = 8,
    setting: str = "few",
    model: str = "embedded",
    dtype: str = "float32",
    seed: int = 0,
    steps: int = 30,
) -> int:
    """Draw held-out scenes by every method on one sheet, gallery.png, and print the mean IoU of each column.

    Parameters
    ----------
    out
        Folder for the sheet and the single pictures.
    scenes
        How many scenes.
    setting
        Which segments condition the pictures: few, filtered or all.
    model
        Preset or folder of the model.
    dtype
        Precision of its weights; bfloat16 is nearly twice as fast on processors that have it.
    seed
        Noise seed of the first picture.
    steps
        Sampling steps of a picture.
    """
    from scenewright.backends import load
    from scenewright.bench.gallery import COLUMNS, make
    from scenewright.bench.scoring import Judges

    with progress("gallery", scenes * (1 + len(COLUMNS))) as told:
        miou = make(load(model, dtype), Judges.embedded(), out, scenes, setting, steps, seed, told)
    for method, value in miou.items():
        print(f"{COLUMNS[method]:30} mIoU {value:.3f}")
    print(f"sheet: {out / 'gallery.png'}")
    return 0


app.command("scenewright.commands.bench_transfer:app", name="transfer")


def words_of(text: str) -> tuple[str, ...]:
    """The words of a comma list."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def parameters_from(pairs: Sequence[str]) -> dict[str, Any]:
    """`name=value` words as a mapping; raises UserError for one without "="."""
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"'{pair}' is not a parameter; write name=value, as in zest.eta=0.5.")
    return {name.strip(): value.strip() for name, _, value in (pair.partition("=") for pair in pairs)}
