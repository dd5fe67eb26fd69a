"""Methods and parameters by name."""

import pytest

from scenewright.denoiser import During
from scenewright.errors import UserError
from scenewright.guidance import (
    METHODS,
    AttendAndExcite,
    AttentionRefocusing,
    BoxDiff,
    ClassifierFree,
    DenseDiffusion,
    Gligen,
    LayoutGuidance,
    MultiDiffusion,
    MultiScale,
    PaintWithWords,
    SpaText,
    Zest,
    build,
    parameters,
)


def test_parts_are_nested_in_the_right_order() -> None:
    kinds = {name: [type(part) for part in factory()] for name, factory in METHODS.items()}
    assert kinds == {
        "none": [ClassifierFree],
        "paint": [PaintWithWords, ClassifierFree],
        "multidiffusion": [ClassifierFree, MultiDiffusion],
        "zest": [During, ClassifierFree],
        "dense": [DenseDiffusion, ClassifierFree],
        "classifier": [During, ClassifierFree],
        "spatext": [SpaText, ClassifierFree],
        "spatext-multi": [SpaText, MultiScale],
        "attend": [ClassifierFree, AttendAndExcite],
        "boxdiff": [ClassifierFree, BoxDiff],
        "layout-guidance": [ClassifierFree, LayoutGuidance],
        "refocus": [ClassifierFree, AttentionRefocusing],
        "gligen": [ClassifierFree, Gligen],
        "boxdiff+gligen": [ClassifierFree, BoxDiff, Gligen],
        "refocus+gligen": [ClassifierFree, AttentionRefocusing, Gligen],
        "zest+paint": [PaintWithWords, During, ClassifierFree],
    }


def test_paint_has_a_window_where_one_is_asked_for() -> None:
    assert build("paint")[0] == PaintWithWords()
    during, _ = build("paint", start=0.5, stop="0.75", weight=2)
    assert during == During(PaintWithWords(2.0), 0.5, 0.75)
    with pytest.raises(UserError, match="start is 1.5"):
        build("paint", start=1.5)


@pytest.mark.parametrize("name", ["zest,paint", "paint+zest", " zest , paint "])
def test_combinations_in_any_order(name: str) -> None:
    assert len(build(name)) == 3


def test_parameters_by_field_or_part_and_field() -> None:
    paint, zest, cfg = build("zest+paint", **{"zest.eta": 0.5, "weight": 0.3, "cfg.scale": 2, "guided_steps": 4})
    assert isinstance(zest, During)
    assert isinstance(zest.guidance, Zest)
    assert (zest.guidance.eta, zest.steps) == (0.5, 4)
    assert paint == PaintWithWords(0.3)
    assert cfg == ClassifierFree(2.0)


def test_strings_from_the_command_line_are_converted() -> None:
    during, _ = build("zest", eta="0.5", guided_steps="7", absent="dog, cat", biased="true", ddim_eta="none")
    assert isinstance(during, During)
    zest = during.guidance
    assert isinstance(zest, Zest)
    assert (zest.eta, during.steps, zest.energy.absent, zest.biased) == (0.5, 7, ("dog", "cat"), True)
    assert zest.ddim_eta is None


def test_defaults_are_listed_with_their_part() -> None:
    listed = parameters("zest")
    assert listed["zest.fraction"] == 0.5
    assert listed["cfg.scale"] == 4.0
    assert build("zest", **listed) == build("zest")
    assert all(key.split(".")[0] in ("paint", "cfg") for key in parameters("paint"))


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("magic", {}, "method 'magic' is not known; choose from none, paint"),
        ("paint+multidiffusion", {}, "is not known"),
        ("zest", {"etta": 1}, "parameter 'etta' is not known; this method has zest.eta, .*cfg.scale"),
        ("paint", {"zest.eta": 1}, "parameter 'zest.eta' is not known; this method has paint.weight"),
        ("zest", {"eta": "much"}, "zest.eta is 'much'; it must be a number"),
        ("zest", {"eta": True}, "zest.eta is True; it must be a number"),
        ("zest", {"eta": None}, "zest.eta is None; it must be a number"),
        ("zest", {"guided_steps": 2.5}, "zest.guided_steps is 2.5; it must be a whole number"),
        ("zest", {"biased": "maybe"}, "it must be true or false"),
        ("zest", {"layers": 3}, "it must be text"),
        ("zest", {"fraction": 1.5}, "fraction is 1.5"),
        ("zest", {"guided_steps": -1}, "guided_steps is -1"),
        ("zest", {"granularity": "pixel"}, "granularity 'pixel' is not known; choose from global, layer, head"),
        ("zest", {"loss": "l2"}, "loss 'l2' is not known"),
        ("zest", {"resize": "up"}, "resize 'up' is not known"),
        ("zest", {"temperature": 0}, "temperature is 0"),
        ("zest", {"best": 0}, "best is 0"),
        ("paint", {"weight": float("inf")}, "weight is inf"),
        ("paint", {"rule": "mean"}, "rule 'mean' is not known"),
        ("none", {"scale": -1}, "scale is -1"),
        ("multidiffusion", {"bootstrapping": 2}, "bootstrapping is 2"),
    ],
)
def test_bad_names_and_values_get_a_sentence(method: str, given: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(method, **given)
