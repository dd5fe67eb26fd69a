"""What will go wrong with a scene on a model, before anything is drawn: each finding says how to mend it.

Later segments are in front. A safe mend takes away nothing that could be drawn and changes no words of the
user's: dropping what covers or says nothing, cutting away what is hidden, adding words to the end of the caption.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import reduce
from typing import Literal

import numpy as np

from scenewright.scene import Scene, Segment, phrase_spans

HIDDEN = 0.01  # share of a segment below which an overlap is only a ragged edge
BARE = 0.25  # share of the picture without any segment above which it is worth saying


class Severity(StrEnum):
    """error: cannot be drawn so. warning: will not be obeyed. note: good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class ModelFacts:
    """What lint has to know of a model.

    cell_fraction: side of the smallest attention cell that sees words, as a fraction of the picture's side.
    token_limit: most tokens the model reads of a caption; count_tokens counts in the same way (start and end marks in
    both or in neither). unknown_words: words of a text that the model has never seen. guidance: methods that work.
    segment_limit: more segments than this are rarely all drawn. refused: methods that do not work, and why.
    """

    cell_fraction: float
    token_limit: int
    count_tokens: Callable[[str], int]
    unknown_words: Callable[[str], list[str]]
    guidance: frozenset[str]
    segment_limit: int = 24
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """What is wrong (`message`), how to mend it (`mend`), and `fix`: the safe mend as a function, if there is one.

    segment: position in the scene, None if it is about the whole. order: fixes run from low to high.
    """

    code: str
    severity: Severity
    segment: int | None
    message: str
    mend: str
    fix: Callable[[Scene], Scene] | None = field(default=None, repr=False)
    order: Literal[0, 1, 2] = 0


def lint(scene: Scene, model: ModelFacts, guidance: Sequence[str] = ()) -> list[Finding]:
    """Everything that will go wrong with the scene on the model, by the methods `guidance`; the worst first."""
    checks = (_methods(guidance, model), _counts(scene, model), _regions(scene, model), _overlaps(scene))
    checks += (_words(scene, model), _shared(scene), _caption(scene, model), _coverage(scene))
    found = [finding for check in checks for finding in check]
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))


def fix(scene: Scene, findings: Sequence[Finding]) -> tuple[Scene, list[Finding]]:
    """The scene with the safe mends of the findings, and the findings whose mend changed something."""
    applied = []
    for finding in sorted((f for f in findings if f.fix is not None), key=lambda f: f.order):
        mended = finding.fix(scene) if finding.fix is not None else scene
        if not mended.same_as(scene):
            scene = mended
            applied.append(finding)
    return scene, applied


def said(scene: Scene) -> str:
    """The caption as a model reads it: phrases that it lacks are added at the end."""
    missing = dict.fromkeys(s.text for s in scene.segments if s.text and not phrase_spans(scene.caption, s.text))
    return ", ".join(filter(None, [scene.caption.rstrip(" .,;\n"), *missing])) if missing else scene.caption


def _label(segment: Segment, i: int) -> str:
    return f"segment {i} ({segment.text!r})" if segment.text else f"segment {i} (no words)"


def _methods(guidance: Sequence[str], model: ModelFacts) -> Iterator[Finding]:
    names = ", ".join(sorted(model.guidance))
    for method in guidance:
        if method not in model.guidance:
            reason = f": {model.refused[method]}" if method in model.refused else ""
            message = f"the model does not support the method {method!r}{reason}"
            yield Finding("method-unsupported", Severity.ERROR, None, message, f"choose among {names}")


def _counts(scene: Scene, model: ModelFacts) -> Iterator[Finding]:
    count = len(scene.segments)
    if not count:
        mend = "add a segment with a mask and words, or draw with --guidance none"
        yield Finding(
            "no-segments", Severity.WARNING, None, "the scene has no segments: nothing guides the layout", mend
        )
    if count > model.segment_limit:
        message = f"the scene has {count} segments; beyond {model.segment_limit} some are rarely drawn"
        mend = f"remove the smallest, or join those with the same words, until {model.segment_limit} are left"
        yield Finding("too-many-segments", Severity.WARNING, None, message, mend)


def _regions(scene: Scene, model: ModelFacts) -> Iterator[Finding]:
    cell = model.cell_fraction
    for i, segment in enumerate(scene.segments):
        if segment.box is None:
            mend = "give it a region inside the picture, or remove it (--fix removes it)"
            message = f"{_label(segment, i)} covers no pixel, so drawing leaves it out"
            yield Finding("empty-segment", Severity.WARNING, i, message, mend, _without_empty)
            continue
        x0, y0, x1, y1 = segment.box
        grow = max(cell / np.sqrt(segment.area), cell / (x1 - x0), cell / (y1 - y0))
        if grow > 1 + 1e-6:
            thin = segment.area >= cell**2
            message = f"{_label(segment, i)} " + (
                "is thinner than" if thin else f"covers {segment.area:.2%} of the picture, less than"
            )
            factor = np.ceil(grow * 10) / 10
            mend = f"make it at least {factor:g} times larger (resize by {factor:g}), or remove it"
            message += f" one attention cell of the model ({cell:.1%} of the side, {cell**2:.2%} of the picture)"
            yield Finding("small-segment", Severity.WARNING, i, message, mend)


def _overlaps(scene: Scene) -> Iterator[Finding]:
    for i, seen in scene.visible():
        mask = scene.segments[i].mask
        total = float(mask.sum(dtype=np.float64))
        hidden = 1 - float(seen.sum(dtype=np.float64)) / total if total else 0.0
        if hidden <= HIDDEN:
            continue
        covers = {j: float(np.minimum(mask, scene.segments[j].mask).sum()) for j in range(i + 1, len(scene.segments))}
        front = max(covers, key=lambda j: covers[j])
        message = (
            f"{_label(scene.segments[i], i)} is {hidden:.0%} hidden, mostly by {_label(scene.segments[front], front)}"
        )
        mend = f"put segment {i} in front of {front} (reorder), move one away, or let --fix cut away what is hidden"
        severity = Severity.WARNING if hidden > 0.5 else Severity.NOTE
        yield Finding("overlap", severity, i, message, mend, _cut, order=1)


def _words(scene: Scene, model: ModelFacts) -> Iterator[Finding]:
    for i, segment in enumerate(scene.segments):
        label = _label(segment, i)
        if not segment.text:
            mend = "say what the region shows, or remove the segment (--fix removes it)"
            message = f"{label} has no words, so drawing leaves it out"
            yield Finding("no-words", Severity.WARNING, i, message, mend, Scene.drawable)
            continue
        unknown = model.unknown_words(segment.text)
        if unknown:
            mend = "say it in words the model knows, or name a model that knows them (--model)"
            message = f"the model does not know {_listed(unknown)} in {label}; a segment of unknown words is not placed"
            yield Finding("unknown-words", Severity.WARNING, i, message, mend)
        if not phrase_spans(scene.caption, segment.text):
            message = f"the caption does not say {segment.text!r} of segment {i}"
            mend = f'add it to the caption (--fix adds ", {segment.text}" at the end, as drawing does)'
            yield Finding("missing-phrase", Severity.NOTE, i, message, mend, _with_phrases, order=2)


def _shared(scene: Scene) -> Iterator[Finding]:
    """Segments whose words stand at the same place of the caption: the model's attention cannot tell them apart."""
    caption = said(scene)
    owners: dict[tuple[int, int], int] = {}
    sharing: dict[int, list[int]] = {}
    # Long phrases choose first, so that "car" does not take its place inside "red car".
    for i in sorted(range(len(scene.segments)), key=lambda i: (-len(scene.segments[i].text), i)):
        places = phrase_spans(caption, scene.segments[i].text)
        taken = [next((o for (a, b), o in owners.items() if a < end and start < b), None) for start, end in places]
        if None in taken:
            owners[places[taken.index(None)]] = i
        elif taken:
            sharing.setdefault(next(o for o in taken if o is not None), []).append(i)
    for owner, others in sharing.items():
        words = scene.segments[owner].text
        message = (
            f"segments {_listed([str(i) for i in sorted([owner, *others])])} share the words {words!r} of the caption"
        )
        mend = "say each its own words, as in 'a dog on the left', or join them into one segment"
        yield Finding("shared-words", Severity.NOTE, owner, message + ", so the model cannot tell them apart", mend)


def _caption(scene: Scene, model: ModelFacts) -> Iterator[Finding]:
    caption = said(scene)
    if not scene.caption.strip():
        mend = "write what the whole picture shows" + (" (--fix joins the segments' words)" if caption else "")
        yield Finding("no-caption", Severity.WARNING, None, "the scene has no caption", mend, _with_phrases, order=2)
    segment_words = {word for s in scene.segments for word in model.unknown_words(s.text)}
    unknown = [word for word in model.unknown_words(scene.caption) if word not in segment_words]
    if unknown:
        mend = "use other words, or name a model that knows them (--model)"
        message = f"the model does not know {_listed(unknown)} in the caption"
        yield Finding("unknown-words", Severity.NOTE, None, message, mend)
    tokens, limit = model.count_tokens(caption), model.token_limit
    if tokens <= limit:
        return
    what = "the caption" if caption == scene.caption else "the caption with the phrases added"
    mend = f"shorten the caption by {tokens - limit} tokens or more, or remove segments"
    yield Finding("long-caption", Severity.WARNING, None, f"{what} has {tokens} tokens; the model reads {limit}", mend)
    for i, segment in enumerate(scene.segments):
        places = phrase_spans(caption, segment.text)
        if places and model.count_tokens(caption[: places[0][1]]) > limit:
            message = (
                f"the model stops reading before {_label(segment, i)}; drawing leaves out segments until the rest fits"
            )
            mend = f"say {segment.text!r} earlier in the caption, within the first {limit} tokens"
            yield Finding("phrase-past-limit", Severity.WARNING, i, message, mend)


def _coverage(scene: Scene) -> Iterator[Finding]:
    if not scene.segments:
        return
    bare = 1 - float(reduce(np.maximum, (s.mask for s in scene.segments)).mean())
    if bare > BARE:
        mend = "add a segment for the background, such as grass or sky, if it matters"
        message = f"{bare:.0%} of the picture has no segment: the caption alone decides there"
        yield Finding("bare-picture", Severity.NOTE, None, message, mend)


def _without_empty(scene: Scene) -> Scene:
    return replace(scene, segments=tuple(s for s in scene.segments if s.mask.any()))


def _cut(scene: Scene) -> Scene:
    return _without_empty(scene.exclusive())


def _with_phrases(scene: Scene) -> Scene:
    return replace(scene, caption=said(scene))


def _listed(words: Sequence[str]) -> str:
    shown = ", ".join(repr(word) if not word.isdigit() else word for word in words[:8])
    return shown + (f" and {len(words) - 8} more" if len(words) > 8 else "")
