"""Edits of maps, and drawing again what depends on them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scenewright import editing
from scenewright.backends.analytic import GaussianMixture, Regression
from scenewright.errors import UserError
from scenewright.graph.factor import Factor, FactorGraph
from scenewright.graph.sampling import draw
from scenewright.guidance.keep import Keep
from scenewright.sampling import sample
from scenewright.scene import Scene


def field() -> np.ndarray:
    """Sky (1) over grass (2) with a bus (3) that is longer to the left, and a ball (4)."""
    labels = np.full((16, 16), 1)
    labels[8:] = 2
    labels[6:10, 2:8], labels[5, 2:4], labels[12:14, 12:14] = 3, 3, 4
    return labels


BUS = field() == 3


def test_what_is_deleted_is_filled_from_around():
    bare = editing.delete(field(), BUS)
    assert set(np.unique(bare)) == {1, 2, 4}
    assert np.array_equal(bare[~BUS], field()[~BUS])
    assert bare[6, 5] == 1
    assert bare[9, 5] == 2


@given(st.integers(-4, 4), st.integers(-3, 3))
def test_moving_there_and_back_is_as_before(dx, dy):
    by = (dx / 16, dy / 16)
    there = editing.move(field(), BUS, by)
    now = np.roll(BUS, (dy, dx), (0, 1))
    inside = dx >= -2  # further left it leaves the frame
    if inside:
        assert np.array_equal(there == 3, now)
        back = editing.move(there, there == 3, (-by[0], -by[1]))
        assert np.array_equal(back == 3, BUS)


def test_flips_and_sizes():
    once = editing.flip(field(), BUS)
    assert np.array_equal(editing.flip(once, once == 3) == 3, BUS)
    assert (once == 3)[5, 6:8].all()
    assert not (once == 3)[5, 2:4].any()
    half = editing.resize(field(), BUS, 0.5)
    assert 5 <= (half == 3).sum() <= 9
    assert (editing.resize(field(), BUS, 2.0) == 3).sum() > 2.5 * BUS.sum()
    assert np.array_equal(editing.resize(field(), BUS, 1.0), field())


def test_normals_turn_round_with_what_is_flipped():
    normals = np.zeros((16, 16, 3), np.float32)
    normals[..., 0] = 1
    flipped = editing.flip(normals, BUS, normals=True)
    mirrored = editing.flip(field(), BUS) == 3
    assert (flipped[mirrored][:, 0] == -1).all()
    assert (flipped[~(mirrored | BUS)][:, 0] == 1).all()


def test_painting_and_pasting():
    assert (editing.repaint(field(), BUS, 9)[BUS] == 9).all()
    other = np.zeros((16, 16), int)
    other[:2, :2] = 7
    both = editing.paste(field(), other, other == 7, by=(0.5, 0.25))
    assert (both[4:6, 8:10] == 7).all()
    assert (both == 7).sum() == 4
    assert np.array_equal(both[both != 7], field()[both != 7])


def test_regions_are_connected_pieces():
    labels = field()
    labels[0, 15] = 3
    assert np.array_equal(editing.region_of(labels, 3), BUS)
    assert editing.region_of(labels, 3, at=(1.0, 0.0)).sum() == 1
    with pytest.raises(UserError, match="shows no label 8"):
        editing.region_of(labels, 8)
    with pytest.raises(UserError, match="no label 3 at"):
        editing.region_of(labels, 3, at=(0.9, 0.9))


def test_depth_order():
    depth = np.full((16, 16), np.inf, np.float32)
    bus, ball = BUS, field() == 4
    depth[bus], depth[ball] = np.linspace(4, 5, bus.sum()), 8
    behind = editing.push(depth, bus, ball, behind=True)
    assert behind[bus].min() > 8
    assert np.allclose(behind[bus] / depth[bus], behind[bus][0] / depth[bus][0])
    assert np.array_equal(editing.push(depth, bus, ball), depth)
    assert editing.push(behind, bus, ball)[bus].max() < 8
    with pytest.raises(UserError, match="behind the sky"):
        editing.push(depth, bus, field() == 1, behind=True)


def test_text_on_a_sketch():
    blank = np.zeros((64, 64), bool)
    written = editing.scribble(blank, "HI", (0.1, 0.2), 0.3)
    assert 20 < written.sum() < 1000
    assert not written[:10].any()
    with pytest.raises(UserError, match="cannot be read"):
        editing.scribble(blank, "HI", (0, 0), 0.01)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda: editing.delete(field(), np.ones((16, 16), bool)), "whole map"),
        (lambda: editing.delete(field(), np.ones((4, 4), bool)), "does not fit"),
        (lambda: editing.move(field(), BUS.astype(int), (0, 0)), "give true or false"),
        (lambda: editing.resize(field(), BUS, 0), "above 0"),
        (lambda: editing.flip(field(), BUS & ~BUS), "no pixels"),
        (lambda: editing.paste(field(), np.zeros((4, 4)), BUS), "cannot be pasted"),
        (lambda: editing.push(np.ones((16, 16)), BUS & ~BUS, BUS), "cannot be pushed"),
        (lambda: editing.scribble(field(), "a", (0, 0)), "true and false"),
    ],
)
def test_impossible_edits_are_refused(edit, says):
    with pytest.raises(UserError, match=says):
        edit()


class Plain:
    """Pictures of an analytic model, as grey values in [-1, 1]."""

    def encode(self, values: np.ndarray) -> np.ndarray:
        return np.repeat(np.asarray(values, np.float32)[..., None], 3, 2)

    def decode(self, picture: np.ndarray) -> np.ndarray:
        return picture[..., 0] / 127.5 - 1


def chain_of_three() -> FactorGraph:
    """a -> b -> c, and d beside them; 2 by 2 cells."""

    def model(*parents: str) -> GaussianMixture:
        count = len(parents)
        tie = Regression(dict.fromkeys(parents, 0.5), torch.zeros(count), torch.eye(count)) if count else None
        return GaussianMixture(torch.zeros(1, 1, 2, 2), torch.full((1,), 0.1), torch.ones(1), regression=tie)

    made = [Factor(name, parents, model(*parents), Plain(), steps=4) for name, parents in
            (("a", ()), ("b", ("a",)), ("c", ("b",)), ("d", ()))]  # fmt: skip
    return FactorGraph(tuple(made))


def test_only_what_depends_on_an_edit_is_drawn_again():
    graph = chain_of_three()
    drawn = draw(graph, seeds=[0, 1])
    assert graph.descendants(["a"]) == ("b", "c")
    same = editing.redraw(graph, {}, drawn, {"b": np.zeros((2, 2))}, [0, 1])
    assert set(same) == {"c"}
    whole = editing.redraw(graph, {}, drawn, {"a": np.full((2, 2), 0.8)}, [0, 1])
    assert set(whole) == {"b", "c"}
    assert not torch.equal(whole["b"].latents, drawn["b"].latents)
    with pytest.raises(UserError, match="nothing depends on d"):
        editing.redraw(graph, {}, drawn, {"d": np.zeros((2, 2))}, [0, 1])


def test_what_lies_outside_an_edit_is_kept_if_asked():
    graph = chain_of_three()
    drawn = draw(graph, seeds=[0])
    changed = np.array([[True, False], [False, False]])
    again = editing.redraw(graph, {}, drawn, {"a": np.full((2, 2), 0.8)}, [0], changed)
    for name in ("b", "c"):
        before, after = drawn[name].latents[0, 0], again[name].latents[0, 0]
        assert torch.allclose(before[~torch.from_numpy(changed)], after[~torch.from_numpy(changed)], atol=1e-3)
        assert abs(float(before[0, 0] - after[0, 0])) > 0.02


def test_keep_is_identity_where_all_is_free_and_exact_where_nothing_is():
    model = GaussianMixture(torch.zeros(1, 1, 2, 2), torch.ones(1), torch.ones(1))
    scene, old = Scene("", (), (2, 2)), torch.full((1, 1, 2, 2), 0.7)
    plain = sample(model, scene, steps=5).latents
    assert torch.allclose(sample(model, scene, [Keep(old, torch.ones(2, 2))], steps=5).latents, plain, atol=1e-5)
    assert torch.allclose(sample(model, scene, [Keep(old, torch.zeros(2, 2))], steps=5).latents, old, atol=1e-2)
    with pytest.raises(UserError, match="does not fit latents"):
        Keep(old, torch.ones(3, 3))
