"""From a composition to words: captions in several phrasings, and a phrase per segment."""

from dataclasses import dataclass

import numpy as np

from .compose import Composition, Thing
from .vocabulary import CLASS_ID

_SKY_WORDS = {"clear": "clear sky", "sunset": "sunset sky", "night": "night sky", "cloudy": "cloudy sky"}
_ON = ("on {}", "on the {}", "standing on {}", "and {}")


@dataclass(frozen=True)
class Phrase:
    """What one region is called: `instance` is 0 for ground, sky, wall and mountain."""

    text: str
    class_id: int
    instance: int = 0
    colour: str | None = None


def article(words: str) -> str:
    """ "a" or "an" before `words`."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def thing_phrase(thing: Thing, plain: bool) -> Phrase:
    if plain or thing.colour is None:
        words = thing.kind
    else:  # a person's colour is that of the clothes
        words = f"person in {thing.colour}" if thing.kind == "person" else f"{thing.colour} {thing.kind}"
    return Phrase(words, CLASS_ID[thing.kind], thing.instance, None if plain else thing.colour)


def phrases(scene: Composition) -> list[Phrase]:
    """A phrase per region, objects first; one in seven objects is named without its colour."""
    rng = np.random.default_rng([7, scene.seed])
    out = [thing_phrase(thing, rng.random() < 0.14) for thing in scene.things]
    out.append(Phrase(scene.ground, CLASS_ID[scene.ground]))
    if scene.mountain:
        out.append(Phrase("mountain", CLASS_ID["mountain"]))
    far = f"{scene.wall} wall" if scene.wall else _SKY_WORDS[scene.sky]
    out.append(Phrase(far, CLASS_ID["wall" if scene.wall else "sky"], 0, scene.wall or None))
    return out


def caption(scene: Composition, said: list[Phrase], phrasing: int) -> str:
    """One sentence that holds every phrase word for word; `phrasing` picks order and wording."""
    rng = np.random.default_rng([11, scene.seed, phrasing])
    things = [article(p.text) for p in said if p.instance]
    order = rng.permutation(len(things))
    subject = _listed([things[i] for i in order])
    ground, far = scene.ground, said[-1].text
    where = _ON[int(rng.integers(len(_ON)))].format(ground)
    behind = (
        (f"in front of {article(far)}", f"near {article(far)}")
        if scene.wall
        else (f"under {article(far)}", f"with {article(far)}")
    )
    tail = behind[int(rng.integers(2))]
    hill = ", a mountain behind" if scene.mountain else ""
    style = int(rng.integers(4))
    if not things:
        return f"{ground} {tail}{hill}"
    if style == 0:
        return f"{tail}, {subject} {where}{hill}"
    if style == 1:
        return f"a picture of {subject} {where} {tail}{hill}"
    return f"{subject} {where} {tail}{hill}"


def _listed(items: list[str]) -> str:
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]
