"""What a model can read of a scene: a segment whose words lie past the token limit has no say, so it is left out."""

from collections import defaultdict
from dataclasses import replace

from scenewright.lint import ModelFacts, said
from scenewright.scene import Scene, phrase_spans


def fitted(scene: Scene, facts: ModelFacts) -> tuple[Scene, tuple[str, ...]]:
    """The scene without segments that the model cannot read, and their words.

    Words that the caption itself says past the limit go first; then, while the phrases added to it do not fit, those
    that cover least.
    """
    dropped: list[str] = []
    while lost := _past_limit(scene, facts):
        told = {text for text in lost if phrase_spans(scene.caption, text)}
        areas = _areas(scene)
        added = {text for text in areas if not phrase_spans(scene.caption, text)}
        goes = min(told or added, key=lambda text: (areas[text], text))
        dropped.append(goes)
        scene = replace(scene, segments=tuple(s for s in scene.segments if s.text != goes))
    return scene, tuple(dropped)


def _past_limit(scene: Scene, facts: ModelFacts) -> set[str]:
    """The words of segments whose first place in what the model is told ends past its token limit."""
    caption = said(scene)
    if facts.count_tokens(caption) <= facts.token_limit:
        return set()
    ends = {s.text: phrase_spans(caption, s.text)[0][1] for s in scene.segments if s.text}
    return {text for text, end in ends.items() if facts.count_tokens(caption[:end]) > facts.token_limit}


def _areas(scene: Scene) -> dict[str, float]:
    """Share of the picture under each text."""
    areas: dict[str, float] = defaultdict(float)
    for segment in scene.segments:
        areas[segment.text] += segment.area
    return areas
