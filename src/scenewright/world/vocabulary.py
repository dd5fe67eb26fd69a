"""The words of the reference world: classes, colours, synonyms and the pairs held out of training.

Class names are COCO-Stuff / ADE20K words, chosen because they are the frequent ones in real layouts. Class ids are
positions in `CLASSES`; id 0 means "unlabelled".
"""

import re

KINDS: tuple[str, ...] = (
    "person", "cat", "dog", "horse", "cow", "sheep", "zebra", "giraffe", "elephant", "bird",
    "tree", "house", "car", "bus", "truck", "train", "motorcycle", "boat", "bench", "chair",
    "table", "bed", "couch", "umbrella", "ball", "book", "bag", "bottle", "kite", "traffic light",
)  # fmt: skip
GROUNDS: tuple[str, ...] = ("grass", "sand", "snow", "water", "road", "dirt", "floor")
STUFF: tuple[str, ...] = (*GROUNDS, "mountain", "sky", "wall")
CLASSES: tuple[str, ...] = ("unlabelled", *KINDS, *STUFF)
CLASS_ID: dict[str, int] = {name: index for index, name in enumerate(CLASSES)}
SKIES: tuple[str, ...] = ("clear", "sunset", "night", "cloudy")

# Display-referred RGB in [0, 1], far apart so that a colour can be told from a shaded surface.
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.10, 0.10), "orange": (0.98, 0.50, 0.04), "yellow": (0.98, 0.86, 0.10),
    "green": (0.13, 0.62, 0.18), "blue": (0.12, 0.30, 0.88), "purple": (0.52, 0.16, 0.72),
    "pink": (0.98, 0.50, 0.70), "brown": (0.46, 0.26, 0.12), "black": (0.09, 0.09, 0.10),
    "white": (0.95, 0.95, 0.93), "gray": (0.52, 0.53, 0.55),
}  # fmt: skip
_ALL = tuple(COLOURS)
_FUR = ("black", "white", "brown", "gray", "orange")
# Which colours a kind comes in; an empty tuple means that the kind has one look and is never named with a colour.
KIND_COLOURS: dict[str, tuple[str, ...]] = dict.fromkeys(KINDS, _ALL) | {
    "cat": _FUR, "dog": _FUR, "horse": _FUR[:4], "cow": ("black", "brown", "gray"),
    "sheep": ("white", "black", "brown"),
    "zebra": (), "giraffe": (), "elephant": (), "traffic light": (),
    "tree": ("green", "orange", "yellow", "red", "pink"),
}  # fmt: skip

SYNONYMS: dict[str, str] = {
    **dict.fromkeys(("man", "woman", "boy", "girl", "child", "kid", "people", "men", "women", "lady", "guy", "player",
                     "surfer", "skier", "rider", "astronaut", "skateboarder", "snowboarder", "baby", "children",
                     "someone", "teenager", "persons", "crowd", "gentleman", "toddler", "wizard", "knight"), "person"),
    **dict.fromkeys(("kitten", "kitty"), "cat"), **dict.fromkeys(("puppy", "hound"), "dog"),
    **dict.fromkeys(("pony", "horses"), "horse"), **dict.fromkeys(("bull", "cattle", "cows", "ox", "calf"), "cow"),
    **dict.fromkeys(("lamb", "goat"), "sheep"), **dict.fromkeys(("pigeon", "duck", "seagull", "parrot", "owl"), "bird"),
    **dict.fromkeys(("bush", "plant", "trees", "forest", "palm", "bushes", "potted plant", "plant-other", "shrub",
                     "christmas tree"), "tree"),
    **dict.fromkeys(("building", "home", "cabin", "hut", "building-other", "barn", "cottage", "castle", "tower",
                     "buildings", "church", "shed", "skyscraper", "structural-other", "roof"), "house"),
    **dict.fromkeys(("taxi", "sedan", "automobile", "suv", "cab"), "car"),
    **dict.fromkeys(("coach", "buses"), "bus"), **dict.fromkeys(("lorry", "van", "pickup", "trailer"), "truck"),
    **dict.fromkeys(("locomotive", "tram", "subway"), "train"),
    **dict.fromkeys(("bicycle", "bike", "motorbike", "scooter", "moped", "bicycles"), "motorcycle"),
    **dict.fromkeys(("ship", "sailboat", "canoe", "yacht", "kayak"), "boat"),
    **dict.fromkeys(("stool", "armchair", "seat", "furniture-other"), "chair"),
    **dict.fromkeys(("desk", "dining table", "desk-stuff", "counter"), "table"),
    **dict.fromkeys(("mattress", "beds"), "bed"), **dict.fromkeys(("sofa", "loveseat"), "couch"),
    **dict.fromkeys(("parasol",), "umbrella"),
    **dict.fromkeys(("sports ball", "basketball", "football", "soccer ball", "baseball", "orange", "apple", "lemon",
                     "balloon"), "ball"),
    **dict.fromkeys(("books", "notebook"), "book"),
    **dict.fromkeys(("handbag", "backpack", "suitcase", "purse", "luggage", "briefcase"), "bag"),
    **dict.fromkeys(("vase", "wine bottle", "jar"), "bottle"),
    **dict.fromkeys(("traffic-light", "stoplight", "traffic lights"), "traffic light"),
    **dict.fromkeys(("field", "lawn", "meadow", "playingfield", "straw", "moss", "leaves"), "grass"),
    **dict.fromkeys(("beach", "desert"), "sand"), **dict.fromkeys(("ice", "snowy ground"), "snow"),
    **dict.fromkeys(("sea", "river", "lake", "ocean", "water-other", "waterdrops", "waves", "pond"), "water"),
    **dict.fromkeys(("street", "pavement", "sidewalk", "asphalt", "highway", "platform", "railroad"), "road"),
    **dict.fromkeys(("mud", "gravel", "soil", "ground-other", "ground", "earth"), "dirt"),
    **dict.fromkeys(("floor-wood", "floor-tile", "floor-stone", "floor-marble", "floor-other", "carpet", "rug", "mat"),
                    "floor"),
    **dict.fromkeys(("hill", "mountains", "hills", "rock", "volcano", "mountain range"), "mountain"),
    **dict.fromkeys(("sky-other", "clouds", "cloud", "fog"), "sky"),
    **dict.fromkeys(("wall-concrete", "wall-other", "wall-wood", "wall-stone", "wall-brick", "wall-panel", "wall-tile",
                     "ceiling-other", "ceiling-tile", "ceiling"), "wall"),
}  # fmt: skip

# Colour-object pairs that never occur in training pictures (design: unseen combinations are measured).
HELD_OUT: frozenset[tuple[str, str]] = frozenset({
    ("car", "purple"), ("bus", "pink"), ("house", "blue"), ("ball", "green"), ("bench", "red"), ("umbrella", "black"),
    ("chair", "yellow"), ("boat", "orange"), ("table", "white"), ("person", "green"), ("bag", "brown"),
    ("truck", "yellow"), ("couch", "gray"), ("kite", "blue"), ("book", "red"), ("motorcycle", "white"),
    ("bottle", "orange"), ("train", "purple"), ("bed", "pink"), ("cat", "brown"), ("dog", "gray"), ("bird", "yellow"),
})  # fmt: skip

_BREAKS = re.compile(r"\b(?:with|of|on|in|at|near|from|wearing|under|over|next|by|beside|that|which|who|for|as)\b")


def held_out(kind: str, colour: str) -> bool:
    """Whether pictures of `colour` `kind` are kept out of every training scene."""
    return (kind, colour) in HELD_OUT


def class_of(text: str) -> str | None:
    """The world's class that a free text names, by its head noun, or None when the world has no such thing.

    The head noun is the last known word before the first preposition: "a man with a kite" is a person.
    """
    phrase = re.sub(r"[^a-z\- ]", " ", text.lower()).strip()
    words = (_BREAKS.split(phrase)[0].strip() or phrase).split()
    for width in (3, 2, 1):
        if len(words) >= width and (found := _lookup(" ".join(words[-width:]))):
            return found
    return None


def _lookup(word: str) -> str | None:
    candidates = [word, word.rstrip("s"), word.removesuffix("es")]
    for candidate in candidates:
        if candidate in CLASS_ID and candidate != "unlabelled":
            return candidate
        if candidate in SYNONYMS:
            return SYNONYMS[candidate]
    return None
