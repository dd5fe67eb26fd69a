"""The structure of factor graphs: what is accepted, in which order factors run, and which are needed."""

import pytest
import torch

from scenewright.backends.analytic import GaussianMixture
from scenewright.errors import UserError
from scenewright.graph.factor import Factor, FactorGraph

POINT = GaussianMixture(torch.zeros(1, 1, 2, 2), torch.ones(1), torch.ones(1))
WIDE = GaussianMixture(torch.zeros(1, 1, 2, 4), torch.ones(1), torch.ones(1))


def factor(variable: str, *parents: str, model: GaussianMixture = POINT) -> Factor:
    return Factor(variable, parents, model)


def paper() -> FactorGraph:
    """P(x | y1, y2) P(y1 | y2) P(y2 | y3): the paper's example, and a sketch that nothing reads."""
    return FactorGraph(
        (
            factor("image", "caption", "segmentation", "pose"),
            factor("pose", "caption", "segmentation"),
            factor("sketch", "segmentation"),
            factor("segmentation", "caption"),
        )
    )


def names(factors: tuple[Factor, ...]) -> list[str]:
    return [factor.variable for factor in factors]


def test_every_factor_comes_after_its_parents():
    order = names(paper().order)
    assert order == ["segmentation", "pose", "sketch", "image"]


@pytest.mark.parametrize(
    ("given", "wanted", "run"),
    [
        (("caption",), (), ["segmentation", "pose", "sketch", "image"]),
        (("caption",), ("pose",), ["segmentation", "pose"]),
        (("caption", "segmentation"), ("image",), ["pose", "image"]),
        (("caption", "segmentation", "pose"), ("image",), ["image"]),
        (("segmentation",), ("sketch",), ["sketch"]),
    ],
)
def test_only_needed_factors_run(given, wanted, run):
    assert names(paper().needed(given, wanted)) == run


@pytest.mark.parametrize(
    ("given", "wanted", "says"),
    [
        (("caption", "pose"), ("segmentation",), "'pose' is given, but nothing"),
        (("caption", "segmentation"), ("sketch",), "'caption' is given, but nothing"),
        (("caption", "image"), ("image",), "need not be drawn"),
        ((), ("image",), "'caption' is not given"),
        (("caption", "depth"), (), "no factor draws 'depth'; this graph draws image"),
        (("caption",), ("depth",), "no factor draws 'depth'"),
    ],
)
def test_what_does_not_fit_the_graph_is_refused(given, wanted, says):
    with pytest.raises(UserError, match=says):
        paper().needed(given, wanted)


@pytest.mark.parametrize(
    ("factors", "says"),
    [
        ((), "at least one"),
        ((factor("a", "b"), factor("b", "a")), "a, b go round in a circle"),
        ((factor("a", "b"), factor("b", "c"), factor("c", "b"), factor("d")), "a, b, c go round"),
        ((factor("a"), factor("a", "caption")), "'a' is drawn by two factors"),
        ((factor("a", "depth"),), "parent 'depth', which no factor draws"),
        ((factor("a"), factor("b", "a", model=WIDE)), "'b' is 4x2 pixels and its parent 'a' 2x2"),
    ],
)
def test_graphs_that_make_no_sense_are_refused(factors, says):
    with pytest.raises(UserError, match=says):
        FactorGraph(factors)


def test_observed_variables_are_parents_without_a_factor():
    graph = FactorGraph((factor("image", "depth"),), observed={"depth": None})
    assert names(graph.needed(("depth",))) == ["image"]
    with pytest.raises(UserError, match="'depth' is not given"):
        graph.needed(())
    with pytest.raises(UserError, match="observed as well"):
        FactorGraph((factor("depth"),), observed={"depth": None})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: factor("a", "a"), "name other variables"),
        (lambda: factor("a", "b", "b"), "each once"),
        (lambda: factor("caption"), "not drawn"),
        (lambda: Factor("a", ("caption",), POINT, prompt="a map"), "leaves the caption out"),
        (lambda: Factor("a", (), POINT, steps=0), "0 steps"),
    ],
)
def test_factors_that_make_no_sense_are_refused(make, says):
    with pytest.raises(UserError, match=says):
        make()
