"""Lint says before drawing what will go wrong, in words that say what to do; safe mends mend."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scenewright.lint import Finding, ModelFacts, Severity, fix, lint, said
from scenewright.scene import Scene, Segment
from scenewright.scene_io import read_scene

SIZE = (32, 32)
KNOWN = {"a", "the", "on", "and", "dog", "cat", "red", "ball", "grass", "sky"}
FACTS = ModelFacts(
    cell_fraction=1 / 8,
    token_limit=10,
    count_tokens=lambda text: len(text.replace(",", " ").split()),
    unknown_words=lambda text: [w for w in re.findall(r"\w+", text.lower()) if w not in KNOWN],
    guidance=frozenset({"none", "zest"}),
    segment_limit=6,
    refused={"dense": "it edits what is not there"},
)


def block(x0: int, y0: int, x1: int, y1: int, text: str = "dog") -> Segment:
    mask = np.zeros(SIZE, np.float32)
    mask[y0:y1, x0:x1] = 1
    return Segment(mask, text)


def found(*segments: Segment, caption: str = "a dog on the grass", **options) -> dict[str, Finding]:  # noqa: ANN003
    return {f.code: f for f in lint(Scene(caption, segments, SIZE), FACTS, **options)}


def test_a_good_scene_has_no_findings() -> None:
    assert not found(block(0, 16, 32, 32, "grass"), block(0, 0, 32, 16, "dog"))


def test_every_finding_says_what_to_do() -> None:
    scene = Scene("", (block(0, 0, 1, 1), block(0, 0, 32, 32, "zebra"), block(0, 0, 0, 0), block(0, 0, 9, 9, "")), SIZE)
    findings = lint(scene, FACTS, ["magic"])
    assert len(findings) > 6
    assert all(f.message and len(f.mend.split()) > 2 and "\n" not in f.message for f in findings)
    severities = [list(Severity).index(f.severity) for f in findings]
    assert severities == sorted(severities)


def test_small_and_thin_segments() -> None:
    small = found(block(0, 0, 2, 2))["small-segment"]
    assert "0.39% of the picture" in small.message
    assert "resize by 2" in small.mend
    assert "thinner" in found(block(0, 0, 32, 2))["small-segment"].message
    assert "small-segment" not in found(block(0, 0, 4, 4))


def test_the_mend_for_a_small_segment_is_enough() -> None:
    scene = Scene("a dog", (block(10, 10, 13, 12),), SIZE)
    (small,) = (f for f in lint(scene, FACTS) if f.code == "small-segment")
    factor = float(small.mend.split("resize by ")[1].split(")")[0])
    assert "small-segment" not in {f.code for f in lint(scene.resize(0, factor), FACTS)}


def test_empty_segment_is_dropped() -> None:
    scene = Scene("a dog", (block(0, 0, 32, 32), block(0, 0, 0, 0, "cat")), SIZE)
    findings = lint(scene, FACTS)
    assert {"empty-segment"} <= {f.code for f in findings}
    mended, applied = fix(scene, findings)
    assert [s.text for s in mended.segments] == ["dog"]
    assert mended.caption == "a dog"  # the words of what was dropped are not added
    assert [f.code for f in applied] == ["empty-segment"]


def test_overlaps_say_how_much_is_hidden_and_by_what() -> None:
    overlap = found(block(0, 0, 32, 32, "grass"), block(0, 0, 32, 8))["overlap"]
    assert "segment 0 ('grass') is 25% hidden, mostly by segment 1 ('dog')" in overlap.message
    assert overlap.severity == Severity.NOTE
    assert found(block(0, 0, 32, 32, "grass"), block(0, 0, 32, 24))["overlap"].severity == Severity.WARNING


def test_fixing_overlaps_keeps_what_is_seen() -> None:
    scene = Scene("a dog on the grass", (block(0, 0, 9, 9, "grass"), block(0, 0, 32, 32, "dog")), SIZE)
    mended, _ = fix(scene, lint(scene, FACTS))
    assert [s.text for s in mended.segments] == ["dog"]  # the grass was hidden whole
    assert "overlap" not in {f.code for f in lint(mended, FACTS)}


def test_missing_phrase_is_appended() -> None:
    scene = Scene("On the grass.", (block(0, 0, 32, 16, "red ball"), block(0, 16, 32, 32, "grass")), SIZE)
    findings = lint(scene, FACTS)
    assert [(f.code, f.segment) for f in findings] == [("missing-phrase", 0)]
    mended, applied = fix(scene, findings)
    assert mended.caption == "On the grass, red ball" == said(scene)
    assert len(applied) == 1
    assert not lint(mended, FACTS)


def test_no_caption_is_made_of_the_phrases() -> None:
    scene = Scene(" ", (block(0, 0, 32, 16, "sky"), block(0, 16, 32, 32, "grass")), SIZE)
    findings = lint(scene, FACTS)
    assert "no-caption" in {f.code for f in findings}
    assert fix(scene, findings)[0].caption == "sky, grass"


def test_captions_and_phrases_past_the_token_limit() -> None:
    caption = "a dog " + "and the cat " * 4 + "on grass"
    findings = found(block(0, 0, 32, 16), block(0, 16, 32, 32, "grass"), caption=caption)
    assert "has 16 tokens; the model reads 10" in findings["long-caption"].message
    assert findings["long-caption"].mend.startswith("shorten the caption by 6 tokens")
    assert findings["phrase-past-limit"].segment == 1
    appended = found(block(0, 0, 32, 16, "red ball"), block(0, 16, 32, 32), caption="a dog on the " + "grass " * 6)
    assert appended["long-caption"].message.startswith("the caption with the phrases added")
    assert appended["phrase-past-limit"].segment == 0


def test_unknown_words_are_named() -> None:
    findings = lint(Scene("a zebra on mars", (block(0, 0, 32, 32, "a zebra"),), SIZE), FACTS)
    assert [(f.segment, f.severity) for f in findings] == [(0, Severity.WARNING), (None, Severity.NOTE)]
    assert "'zebra'" in findings[0].message
    assert "'mars'" in findings[1].message
    assert "'zebra'" not in findings[1].message


def test_shared_words() -> None:
    left, right = block(0, 0, 16, 32), block(16, 0, 32, 32)
    assert "segments 0, 1 share the words 'dog'" in found(left, right, caption="a dog")["shared-words"].message
    assert "shared-words" not in found(left, right, caption="a dog and a dog")
    assert "shared-words" in found(left, block(16, 0, 32, 32, "red dog"), caption="a red dog")
    assert "shared-words" not in found(left, block(16, 0, 32, 32, "red dog"), caption="a red dog and a dog")


def test_no_segments_and_too_many() -> None:
    assert "nothing guides" in found(caption="a dog")["no-segments"].message
    many = [block(4 * (i % 8), 4 * (i // 8), 4 * (i % 8) + 4, 4 * (i // 8) + 4) for i in range(60)]
    assert "60 segments; beyond 6" in found(*many)["too-many-segments"].message
    assert found(*many)["shared-words"]


def test_segment_without_words_is_named_and_dropped() -> None:
    scene = Scene("a dog", (block(0, 0, 32, 32), block(0, 0, 8, 8, "")), SIZE)
    findings = lint(scene, FACTS)
    assert next(f for f in findings if f.code == "no-words").severity == Severity.WARNING
    mended, _ = fix(scene, findings)
    assert len(mended.segments) == 1
    assert mended.segments[0].area == 1.0  # what says nothing hides nothing


def test_unsupported_method() -> None:
    finding = found(block(0, 0, 32, 32), guidance=["zest", "magic"])["method-unsupported"]
    assert finding.severity == Severity.ERROR
    assert finding.mend == "choose among none, zest"
    finding = found(block(0, 0, 32, 32), guidance=["dense"])["method-unsupported"]
    assert finding.message == "the model does not support the method 'dense': it edits what is not there"


def test_bare_picture() -> None:
    assert "75% of the picture has no segment" in found(block(0, 0, 16, 16))["bare-picture"].message
    assert "bare-picture" not in found(block(0, 0, 32, 28))


def test_layout_whose_texts_outnumber_its_colours(tmp_path: Path) -> None:
    values = np.zeros(SIZE, np.uint8)
    values[16:] = 1
    Image.fromarray(values).save(tmp_path / "one.png")
    segments = {"0": {"text": "sky"}, "1": {"text": "grass"}, "2": {"text": "dog"}}
    document = {"prompt": "a dog on the grass, sky", "mask": "one.png", "segments": segments}
    (tmp_path / "one.json").write_text(json.dumps(document))
    findings = lint(read_scene(tmp_path / "one.json"), FACTS)
    assert [(f.code, f.segment) for f in findings] == [("empty-segment", 2)]


TEXTS = st.sampled_from(["dog", "red ball", "", "zebra", "grass"])
PLACES = st.tuples(*[st.integers(0, 32)] * 4)
SEGMENTS = st.builds(lambda place, text: block(*place, text=text), PLACES, TEXTS)
SCENES = st.builds(
    Scene, st.sampled_from(["", "a dog", "A red ball, on grass."]), st.lists(SEGMENTS, max_size=5), st.just(SIZE)
)


@given(SCENES)
def test_after_fixing_nothing_is_left_to_fix(scene: Scene) -> None:
    mended, _ = fix(scene, lint(scene, FACTS))
    again, applied = fix(mended, lint(mended, FACTS))
    assert not applied
    assert again == mended
    left = {f.code for f in lint(mended, FACTS)}
    assert not left & {"empty-segment", "no-words", "overlap", "missing-phrase"}


@pytest.mark.parametrize("count", [0, 60])
def test_fix_of_nothing_is_nothing(count: int) -> None:
    scene = Scene("a dog", (block(0, 0, 8, 8),) * count, SIZE)
    assert fix(scene, []) == (scene, [])
