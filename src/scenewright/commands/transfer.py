"""`scenewright transfer`: a synthesiser of your classes from a few labelled pictures."""

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from scenewright.commands.progress import progress
from scenewright.errors import UserError
from scenewright.files import write_atomically

app = App(name="transfer", help="Make a synthesiser of your own classes from 25 to 400 labelled pictures.")


@app.default
def transfer(
    *,
    source: str,
    pictures: Path,
    labels: Path,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    names: str | None = None,
    train_free: Annotated[bool, Parameter(negative="")] = False,
    affinity: str = "vote",
    tie: str = "soft",
    soft: Annotated[bool, Parameter(negative="")] = False,
    learn: str = "all",
    steps: int = 6000,
    minutes: float = 0.0,
    text_encoder: str = "",
    features: str = "",
    segmenter: str = "",
    source_pictures: Path | None = None,
    source_labels: Path | None = None,
) -> int:
    """Find which class of SOURCE each of your classes resembles, fold that into its weights, and train on.

    OUT gets the model, its affinity (affinity.json, affinity.png) and drawn.png: held-out label maps, their pictures
    and what the model draws. The same command goes on after a kill. Then `scenewright generate LABELS --labels --model
    OUT -o DIR`.

    Args:
        source: Folder of an OASIS model (`scenewright train oasis`).
        pictures: Folder of pictures.
        labels: Folder of their label pictures: palette or grey PNGs of the same names.
        out: Folder for the new model.
        names: Names file, or camvid, ade20k, cityscapes, cityscapes-train, coco-stuff; else by the files' names.
        train_free: Only fold the affinity; nothing is trained.
        affinity: vote, text, segmentation or self-supervised.
        tie: Who wins a tied vote: soft, the largest mean share, or first, text before segmentation before features.
        soft: Fold shares instead of each class's likest source.
        learn: Which weights of the generator learn: all, labels (every layer that reads labels) or first.
        steps: Most training steps; held-out pictures may end it earlier.
        minutes: Stop after so long; the same command goes on.
        text_encoder: Folder or hub id of a CLIP or sentence encoder; the embedded CLIP by default.
        features: Folder or hub id of a self-supervised vision network such as a DINO.
        segmenter: Folder or hub id of a segmenter of the source's classes; its discriminator by default.
        source_pictures: Pictures of the source's classes; the world's are rendered.
        source_labels: Their label pictures, whose values are the source's class ids.
    """
    from scenewright.transfer.estimate import Encoders
    from scenewright.transfer.job import Plan

    if (out / "config.json").exists() and not (out / "training").exists():
        raise UserError(f"{out} holds a model already; name another folder")
    learned = None if train_free else learn
    encoders = Encoders(text_encoder, features, segmenter)
    plan = Plan(affinity, tie, soft, learned, steps, minutes or None, encoders)
    _run(plan, Path(source), (pictures, labels), names, (source_pictures, source_labels), out)
    return 0


def _run(
    plan: Any,
    source: Path,
    few: tuple[Path, Path],
    names: str | None,
    own: tuple[Path | None, Path | None],
    out: Path,
) -> None:
    from scenewright.datasets.pairs import read_pairs
    from scenewright.transfer import job
    from scenewright.transfer.folder import load_source
    from scenewright.transfer.inspect import table

    model = load_source(source)
    target = read_pairs(*few, names, model.pair.config.size)
    new, used, found = job.folded_for(model, target, job.own_pictures(model, plan.affinity, *own), plan, _told)
    for warning in job.warnings(used):
        _told(f"warning: {warning}")
    over = True
    if plan.learn:
        training = _training_folder(out, plan, target)
        with progress("transfer", plan.steps) as advance:
            done, over = job.train(new, target, plan, training, advance)
        if not over:
            _told(f"stopped at step {done}; the same command goes on")
    job.write(new, target, used, found, out)
    if over:
        shutil.rmtree(out / "training", ignore_errors=True)
    print(table(used))


def _told(text: str) -> None:
    print(text, file=sys.stderr)


def _training_folder(out: Path, plan: Any, target: Any) -> Path:
    """Where the run keeps its checkpoint; raises UserError if another run began there."""
    folder = out / "training"
    digest = hashlib.sha256(repr((plan.key(), target.names, target.stems)).encode())
    key = json.dumps({"run": digest.hexdigest()[:16]})
    path = folder / "run.json"
    if path.exists() and path.read_text(encoding="utf-8") != key:
        raise UserError(f"{folder} holds a run of other settings or pictures; finish that one or name another folder")
    write_atomically(path, key.encode())
    return folder
