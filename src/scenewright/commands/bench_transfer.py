"""`scenewright bench transfer`: measure class-affinity transfer."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from scenewright.commands.progress import progress
from scenewright.errors import UserError

app = App(name="transfer", help="Measure class-affinity transfer to the world's second label set.")


@app.default
def transfer(
    source: Path,
    judge: Path,
    json: Annotated[Path | None, Parameter(name="--json")] = None,
    affinities: str = "",
    pictures: str = "100",
    seeds: int = 3,
    train_free: Annotated[bool, Parameter(negative="")] = False,
    learn: str = "all",
    soft: Annotated[bool, Parameter(negative="")] = False,
    tie: str = "soft",
    steps: int = 2000,
    samples: int = 300,
    features: str = "",
) -> int:
    """Measure class-affinity transfer from the world's classes to its second label set, whose true match is known.

    Args:
        source: Folder of an OASIS model of the world (`scenewright train oasis`).
        judge: Folder of the segmenter of the second label set (`scenewright train second-judge`).
        json: Where the rows go; a row is written as soon as it is measured.
        affinities: Comma list of random, text, segmentation, self-supervised, vote, oracle, scratch; all if empty.
        pictures: Comma list of how many labelled pictures there are.
        seeds: How many sets of pictures, and noises.
        train_free: Do not train on.
        learn: Which weights of the generator learn: all, labels or first.
        soft: Fold shares instead of each class's likest source.
        tie: Who wins a tied vote: soft or first.
        steps: Most training steps; held-out pictures may end it earlier.
        samples: Test label maps, and pictures that FID compares with.
        features: Folder or hub id of a self-supervised vision network; the embedded one by default.
    """
    from scenewright import judges
    from scenewright.bench import transfer as bench
    from scenewright.bench.rows import table
    from scenewright.bench.scoring import Judges
    from scenewright.commands.bench import words_of
    from scenewright.commands.world import cache_folder
    from scenewright.files import weights_digest
    from scenewright.transfer.estimate import Encoders
    from scenewright.transfer.folder import load_source

    counts = words_of(pictures)
    if not counts or not all(count.isdigit() for count in counts) or seeds < 1:
        raise UserError(f"--pictures {pictures} is no list of numbers, or --seeds is below 1; write --pictures 25,100")
    named = words_of(affinities) or bench.AFFINITIES
    counted, each = tuple(map(int, counts)), tuple(range(seeds))
    plan = bench.Plan(named, counted, each, not train_free, learn, soft, tie, steps, samples, Encoders("", features))
    model, segment = load_source(source), judges.Segmenter.load(judge)
    own = Judges(segment, judges.clip_image_features, judges.clip_text_features, judges.identity())
    work = cache_folder() / "bench-transfer"
    with progress("bench transfer", bench.steps_of(plan)) as told:
        rows = list(bench.measure(model, weights_digest(source)[:12], own, plan, json, work, told))
    print(table(rows, bench.COLUMNS))
    return 0
