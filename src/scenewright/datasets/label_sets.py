"""Label pictures of published data sets: a pixel's value is a class. The tables say which, and what is void."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scenewright.datasets.coco_names import COCO_STUFF, FIRST_STUFF, spoken
from scenewright.datasets.pictures import file_bytes, label_values
from scenewright.errors import UserError
from scenewright.scene import Scene, Segment

# SceneParse150 (Zhou et al. 2017), values 1 to 150; 0 is anything else. First of each class's synonyms.
_ADE20K = """
    wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door,
    table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, armchair,
    seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, chest of drawers,
    counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table,
    pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench,
    countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel,
    light, truck, tower, chandelier, awning, streetlight, booth, television, airplane, dirt track, apparel, pole, land,
    bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt, canopy, washer,
    plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step,
    tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase,
    traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock,
    flag
"""
_ADE20K_STUFF = (1, 2, 3, 4, 6, 7, 10, 12, 14, 17, 22, 26, 27, 29, 30, 47, 49, 52, 53, 55, 60, 61, 62, 69, 80, 85, 92,
                 95, 97, 102, 106, 110, 114, 129, 141)  # fmt: skip

# Cityscapes (Cordts et al. 2016), "labelIds" 7 to 33; 0 to 6 are void, 255 the licence plates' -1.
_CITYSCAPES = """
    road, sidewalk, parking, rail track, building, wall, fence, guard rail, bridge, tunnel, pole, pole group,
    traffic light, traffic sign, vegetation, terrain, sky, person, rider, car, truck, bus, caravan, trailer, train,
    motorcycle, bicycle
"""
_CITYSCAPES_TRAIN = """
    road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, terrain, sky, person, rider,
    car, truck, bus, train, motorcycle, bicycle
"""
# CamVid with the 11 classes of SegNet (Badrinarayanan et al. 2017), values 0 to 10; 11 is void.
_CAMVID = "sky, building, pole, road, pavement, tree, traffic sign, fence, car, person, bicyclist"


@dataclass(frozen=True)
class LabelSet:
    """`names` by pixel value; `stuff` are the values of ground, sky, wall and their like; `void` means nothing.

    `pattern` is what the data set's label pictures are called.
    """

    title: str
    names: Mapping[int, str]
    stuff: frozenset[int]
    void: frozenset[int]
    pattern: str = "*.png"


def _table(text: str, first: int) -> dict[int, str]:
    return dict(enumerate((" ".join(name.split()) for name in text.split(",")), start=first))


LABEL_SETS = {
    "coco-stuff": LabelSet(
        "COCO-Stuff",
        {number - 1: name for number, name in COCO_STUFF.items()},
        frozenset(number - 1 for number in COCO_STUFF if number >= FIRST_STUFF),
        frozenset({255}),
    ),
    "ade20k": LabelSet("ADE20K", _table(_ADE20K, 1), frozenset(_ADE20K_STUFF), frozenset({0})),
    "cityscapes": LabelSet(
        "Cityscapes", _table(_CITYSCAPES, 7), frozenset(range(7, 24)), frozenset({*range(7), 255}), "*_labelIds.png"
    ),
    "cityscapes-train": LabelSet(
        "Cityscapes (train ids)",
        _table(_CITYSCAPES_TRAIN, 0),
        frozenset(range(11)),
        frozenset({255}),
        "*_labelTrainIds.png",
    ),
    "camvid": LabelSet("CamVid", _table(_CAMVID, 0), frozenset({0, 1, 3, 4}), frozenset({11})),
}


def read_labels(label: Path, of: LabelSet, caption: str = "", instances: Path | None = None) -> Scene:
    """The scene of a label picture: one segment per class, stuff behind, things in front from large to small.

    `instances`: a grey picture that gives each thing its own value (and stuff its class), as SPADE ships; with it each
    instance of a thing is a segment. Raises UserError if a picture cannot be read, the two differ in size, or a value
    is no class.
    """
    values = label_values(label)
    parts = values if instances is None else label_values(instances)
    if parts.shape != values.shape:
        raise UserError(f"{label} and {instances} differ in size; give the two pictures of one photo")
    segments = []
    for value in map(int, np.unique(values)):
        if value in of.void:
            continue
        if value not in of.names:
            raise UserError(f"{label} holds the value {value}, which is no {of.title} class; {_values(of)}")
        region, name, stuff = values == value, of.names[value], value in of.stuff
        whole = stuff or instances is None
        pieces = [region] if whole else [region & (parts == i) for i in np.unique(parts[region])]
        segments += [Segment(piece, spoken(name), name=name, stuff=stuff) for piece in pieces]
    segments.sort(key=lambda s: (not s.stuff, -s.area))
    return Scene(caption, tuple(segments), values.shape, name=label.stem)


def _values(of: LabelSet) -> str:
    void = ", ".join(map(str, sorted(of.void)))
    return f"its values are {min(of.names)} to {max(of.names)}, and {void} for void"


def label_pictures(folder: Path, of: LabelSet) -> list[Path]:
    """The label pictures under a folder, sorted; hidden folders are left out. Raises UserError if there is none."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name the folder of the label pictures")
    found = [p for p in sorted(folder.rglob(of.pattern)) if not any(part.startswith(".") for part in p.parts)]
    if not found:
        raise UserError(f"{folder} holds no {of.pattern}, which {of.title} calls its label pictures; name their folder")
    return found


def scene_captions(folder: Path) -> dict[str, str]:
    """Captions by the stem of the picture, from ADE20K's sceneCategories.txt in a folder or the one above it."""
    for place in (folder / "sceneCategories.txt", folder.parent / "sceneCategories.txt"):
        if place.is_file():
            lines = [line.split() for line in file_bytes(place).decode("utf-8", "replace").splitlines()]
            return {
                words[0].removesuffix(".jpg"): f"a photo of {_article(words[1])} {words[1].replace('_', ' ')}"
                for words in lines
                if len(words) > 1
            }
    return {}


def _article(word: str) -> str:
    return "an" if word[:1].lower() in "aeiou" else "a"
