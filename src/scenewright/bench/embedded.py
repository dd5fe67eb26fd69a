"""`scenewright bench embedded`: what the embedded models can do, against the exact truth of the reference world."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scenewright.bench.drawing import SPLITS, Told, draw, renders, silent
from scenewright.bench.scoring import GROUND_AND_SKY, OBJECTS, Judges, identities
from scenewright.denoiser import Model
from scenewright.errors import UserError
from scenewright.metrics.layout import Confusion, mean_iou
from scenewright.metrics.objects import ColourJudge, Share, found, ids, largest
from scenewright.metrics.quality import fid, psnr
from scenewright.scene import Scene
from scenewright.world import CLASS_ID, CLASSES, GROUNDS, KINDS, Sample, held_out
from scenewright.world.vocabulary import KIND_COLOURS

CALIBRATION = 400  # validation renders from which the colour judge learns
_FLOOR, _UNSEEN = 1_000_000, 2_000_000  # offsets in the test split
_PAIRED = {kind for kind in KINDS if any(held_out(kind, colour) for colour in KIND_COLOURS[kind])}
Numbers = dict[str, float]


@dataclass(frozen=True, eq=False)
class Seen:
    """Pictures beside the samples whose captions they were drawn from, and the segmenter's class maps of them."""

    samples: Sequence[Sample]
    images: np.ndarray
    classes: np.ndarray


def measure(
    model: Model,
    judges: Judges,
    samples: int = 500,
    seed: int = 0,
    steps: int = 30,
    batch: int = 16,
    told: Told = silent,
) -> dict[str, float | int | str | dict[str, str]]:
    """All figures as one object; drawn from captions alone by classifier-free guidance."""
    if samples < 8:
        raise UserError(f"samples is {samples}; ask for at least 8.")
    start = time.perf_counter()
    first = SPLITS["test"]
    world = renders(range(first, first + samples), told=told)
    others = renders(range(first + _FLOOR, first + _FLOOR + samples), told=told)
    strange = renders(range(first + _UNSEEN, first + _UNSEEN + samples // 4), unseen=True, told=told)
    calibration = renders(range(SPLITS["validation"], SPLITS["validation"] + CALIBRATION), told=told)
    colours = learned(calibration)
    real = seen(judges, world, _pictures(world))
    captions = [Scene(sample.caption, (), model.size) for sample in (*world, *strange)]
    images, seconds = draw(model, captions, "none", steps=steps, seed=seed, batch=batch, told=told)
    drawn, unseen = seen(judges, world, images[:samples]), seen(judges, strange, images[samples:])
    return {
        "autoencoder_psnr": float(np.mean(reconstruction(model, real.images, batch))),
        **segmentation(real),
        **objects(drawn, colours),
        **pairs(drawn, unseen, colours),
        **distances(judges, drawn.images, real.images, _pictures(others)),
        "color_ceiling": colour_ceiling(world, colours),
        **{f"{name}_renders": value for name, value in objects(real, colours).items()},
        "fid_features": "world-CLIP",
        "seconds": seconds,
        "seconds_total": time.perf_counter() - start,
        "samples": samples,
        "seed": seed,
        "steps": steps,
        **identities(model, judges),
    }


def steps_of(samples: int) -> int:
    """How often `told` is called: renders and pictures."""
    return 3 * samples + 2 * (samples // 4) + CALIBRATION


def seen(judges: Judges, samples: Sequence[Sample], images: np.ndarray) -> Seen:
    return Seen(samples, images, judges.segment(images))


def _pictures(samples: Sequence[Sample]) -> np.ndarray:
    return np.stack([sample.image for sample in samples])


def learned(samples: Sequence[Sample]) -> ColourJudge:
    """A colour judge that has seen the objects of these renders."""
    judge = ColourJudge()
    for sample in samples:
        for phrase in sample.phrases:
            if phrase.instance:
                judge.learn(CLASSES[phrase.class_id], sample.image[sample.mask(phrase)], sample.composition.sky)
    return judge


def reconstruction(model: Model, images: np.ndarray, batch: int) -> np.ndarray:
    """(N,) PSNR in dB of pictures through the autoencoder and back."""
    parts = [images[i : i + batch] for i in range(0, len(images), batch)]
    return np.concatenate([psnr(part, model.decode(model.encode_image(part))) for part in parts])


def segmentation(real: Seen) -> Numbers:
    """The segmenter's mean IoU on renders, over all classes and over objects."""
    confusion = Confusion(len(CLASSES))
    for sample, classes in zip(real.samples, real.classes, strict=True):
        confusion.update(sample.classes, classes)
    iou = confusion.iou()
    return {
        "segmenter_miou": mean_iou(iou, (*OBJECTS, *GROUND_AND_SKY)),
        "segmenter_miou_objects": mean_iou(iou, OBJECTS),
    }


def objects(drawn: Seen, colours: ColourJudge) -> Numbers:
    """Recall of the captions' kinds by how many objects a caption has; colour of found ones; ground and sky."""
    few, many, coloured, stuff = Share(), Share(), Share(), Share()
    for sample, image, classes in zip(drawn.samples, drawn.images, drawn.classes, strict=True):
        things = [phrase.class_id for phrase in sample.phrases if phrase.instance]
        for class_id in set(things):
            (few if len(things) <= 2 else many).add(found(classes, class_id))
        for kind, colour in named_colours(sample):
            if found(classes, CLASS_ID[kind]):
                coloured.add(colours.name(kind, image[classes == CLASS_ID[kind]], sample.composition.sky) == colour)
        stuff.add(ground_and_sky_right(sample, classes))
    return {
        "recall_1_2": few.value,
        "recall_3_5": many.value,
        "color_accuracy": coloured.value,
        "ground_sky_accuracy": stuff.value,
    }


def named_colours(sample: Sample) -> list[tuple[str, str]]:
    """(kind, colour) of objects named with a colour; not of kinds that occur twice: whose pixels are whose?"""
    things = [phrase for phrase in sample.phrases if phrase.instance]
    kinds = [phrase.class_id for phrase in things]
    return [(CLASSES[p.class_id], p.colour) for p in things if p.colour and kinds.count(p.class_id) == 1]


def ground_and_sky_right(sample: Sample, classes: np.ndarray) -> bool:
    """Whether the caption's ground is the largest ground, and its sky or wall the larger of the two."""
    ground, far = CLASS_ID[sample.composition.ground], CLASS_ID["wall" if sample.composition.wall else "sky"]
    return largest(classes, ids(GROUNDS)) == ground and largest(classes, ids(("sky", "wall"))) == far


def pairs(drawn: Seen, unseen: Seen, colours: ColourJudge) -> Numbers:
    """Recall of objects named in a colour that training never showed them in, and in colours it did show."""
    known = pair_shares(drawn, colours, wanted=lambda kind, colour: kind in _PAIRED and not held_out(kind, colour))
    new = pair_shares(unseen, colours, wanted=held_out)
    return {
        "recall_unseen_pairs": new[0].value,
        "recall_seen_pairs": known[0].value,
        "color_accuracy_unseen_pairs": new[1].value,
        "color_accuracy_seen_pairs": known[1].value,
        "unseen_pairs": new[0].total,
    }


def pair_shares(drawn: Seen, colours: ColourJudge, wanted) -> tuple[Share, Share]:
    """Shares of found objects, and of found ones in the right colour, among (kind, colour) pairs that are `wanted`."""
    recall, coloured = Share(), Share()
    for sample, image, classes in zip(drawn.samples, drawn.images, drawn.classes, strict=True):
        for kind, colour in named_colours(sample):
            if wanted(kind, colour):
                recall.add(found(classes, CLASS_ID[kind]))
                if found(classes, CLASS_ID[kind]):
                    coloured.add(colours.name(kind, image[classes == CLASS_ID[kind]], sample.composition.sky) == colour)
    return recall, coloured


def distances(judges: Judges, drawn: np.ndarray, real: np.ndarray, others: np.ndarray) -> Numbers:
    """FID (world-CLIP) of drawn pictures against other renders; the floor is that of as many renders."""
    reference = judges.image_features(others)
    return {
        "fid": fid(judges.image_features(drawn), reference),
        "fid_floor": fid(judges.image_features(real), reference),
    }


def colour_ceiling(samples: Sequence[Sample], colours: ColourJudge) -> float:
    """Share of right colours on renders with their true masks: what the colour judge itself can reach."""
    share = Share()
    for sample in samples:
        for phrase in sample.phrases:
            if phrase.instance and phrase.colour:
                pixels = sample.image[sample.mask(phrase)]
                share.add(colours.name(CLASSES[phrase.class_id], pixels, sample.composition.sky) == phrase.colour)
    return share.value
