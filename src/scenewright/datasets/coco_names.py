"""The 182 class names of COCO-Stuff (Caesar et al., 2018, table 8) and how to say them in a caption."""

_NAMES = """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, street sign,
    stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, hat,
    backpack, umbrella, shoe, eye glasses, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite,
    baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, plate, wine glass, cup, fork,
    knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair,
    couch, potted plant, bed, mirror, dining table, window, desk, toilet, door, tv, laptop, mouse, remote,
    keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, blender, book, clock, vase, scissors,
    teddy bear, hair drier, toothbrush, hair brush, banner, blanket, branch, bridge, building-other, bush, cabinet,
    cage, cardboard, carpet, ceiling-other, ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain,
    desk-stuff, dirt, door-stuff, fence, floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower,
    fog, food-other, fruit, furniture-other, grass, gravel, ground-other, hill, house, leaves, light, mat, metal,
    mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow, plant-other, plastic, platform,
    playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand, sea, shelf, sky-other, skyscraper,
    snow, solid-other, stairs, stone, straw, structural-other, table, tent, textile-other, towel, tree, vegetable,
    wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops,
    window-blind, window-other, wood
"""

# COCO ids 1 to 91 are things, 92 to 182 stuff; eleven ids of things were never used in annotations.
COCO_STUFF: dict[int, str] = dict(enumerate((" ".join(name.split()) for name in _NAMES.split(",")), start=1))
FIRST_STUFF = 92


def spoken(name: str) -> str:
    """A class name as a person would say it: "sky-other-merged" is "sky", "wall-brick" is "brick wall"."""
    words = [word for word in name.split("-") if word not in ("merged", "other", "stuff")]
    if len(words) == 2 and words[0] in ("wall", "floor", "ceiling"):
        words.reverse()
    return " ".join(words) or name
