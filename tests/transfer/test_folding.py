"""Folding is exact: a folded network draws what the source draws of the translated map."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scenewright.errors import UserError
from scenewright.transfer.folder import Source, load_source, save_source
from scenewright.transfer.folding import folded, folded_weight, learn_only, translated
from scenewright.transfer.oasis import Oasis, OasisConfig, one_hot

TINY = OasisConfig(5, (16, 16), noise=3, widths=(8, 8, 4), hidden=(4, 4), down=(4, 8), up=(8, 4))
NAMES = ("unlabelled", "a", "b", "c", "d")


def source() -> Source:
    torch.manual_seed(0)
    pair = Oasis(TINY)
    for p in pair.parameters():
        torch.nn.init.normal_(p, std=0.3)  # so that every path matters
    return Source(pair.eval(), NAMES)


def column_stochastic(targets: int, seed: int, hard: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    soft = rng.dirichlet(np.ones(5) * 0.4, targets).T
    return np.eye(5)[soft.argmax(0)].T if hard else soft


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("targets", [2, 7])
def test_folded_equals_explicit(hard: bool, targets: int) -> None:
    old = source()
    old.pair.double()  # so that what is left is no rounding
    matrix = column_stochastic(targets, targets, hard)
    new = folded(old, matrix, [str(i) for i in range(targets)])
    maps, z = one_hot(torch.randint(0, targets, (2, 16, 16)), targets).double(), torch.randn(2, 3)
    with torch.no_grad():
        explicit = old.pair.generator(translated(maps, torch.from_numpy(matrix)), z)
        assert (new.pair.generator(maps, z) - explicit).abs().max() < 1e-6
        assert explicit.std() > 0.01


def test_noise_channels_are_untouched_and_the_source_too() -> None:
    old = source()
    before = {k: v.clone() for k, v in old.pair.state_dict().items()}
    new = folded(old, column_stochastic(3, 0), "xyz")
    assert len(new.pair.generator.label_convolutions()) == 6
    for a, b in zip(old.pair.generator.label_convolutions(), new.pair.generator.label_convolutions(), strict=True):
        assert torch.equal(a.weight[:, :3], b.weight[:, :3])
    for name, value in old.pair.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_critic_reads_the_likest_class_and_keeps_fake() -> None:
    old = source()
    matrix = column_stochastic(4, 3)
    new = folded(old, matrix, "wxyz")
    pictures = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        then, now = old.pair.discriminator(pictures), new.pair.discriminator(pictures)
    assert torch.equal(now[:, 0], then[:, 0])
    for t, s in enumerate(matrix.argmax(0)):
        assert torch.allclose(now[:, t + 1], then[:, s + 1], atol=1e-6)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2), st.integers(0, 99))
@settings(max_examples=25)
def test_folding_the_identity_changes_nothing_and_folds_compose(n: int, m: int, before: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = torch.from_numpy(rng.normal(size=(2, before + 3, 3, 3)))
    first, second = torch.from_numpy(rng.random((3, n))), torch.from_numpy(rng.random((n, m)))
    assert torch.equal(folded_weight(weight, torch.eye(3), before), weight)
    twice = folded_weight(folded_weight(weight, first, before), second, before)
    assert torch.allclose(twice, folded_weight(weight, first @ second, before))


def test_a_matrix_of_another_shape_is_refused() -> None:
    with pytest.raises(UserError, match=r"must be \(5, 3\)"):
        folded(source(), np.eye(5), "xyz")


@pytest.mark.parametrize(("part", "count"), [("all", 33), ("labels", 12), ("first", 2)])
def test_what_learns(part: str, count: int) -> None:
    generator = source().pair.generator
    learn_only(generator, part)
    assert sum(p.requires_grad for p in generator.parameters()) == count
    with pytest.raises(UserError, match="choose from all, labels, first"):
        learn_only(generator, "some")


def test_a_saved_model_draws_the_same(tmp_path) -> None:
    old = source()
    save_source(old, tmp_path)
    save_source(load_source(tmp_path), tmp_path / "again")
    first, second = load_source(tmp_path), load_source(tmp_path / "again")
    maps, z = one_hot(torch.randint(0, 5, (1, 16, 16)), 5), torch.randn(1, 3)
    with torch.no_grad():
        assert torch.equal(first.pair.generator(maps, z), second.pair.generator(maps, z))
        assert (first.pair.generator(maps, z) - old.pair.generator(maps, z)).abs().max() < 0.02
    assert first.names == NAMES


def test_a_folder_that_holds_no_such_model_is_said(tmp_path) -> None:
    with pytest.raises(UserError, match="holds no model that reads label maps"):
        load_source(tmp_path)
    save_source(source(), tmp_path)
    (tmp_path / "generator.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="cannot be read as the weights"):
        load_source(tmp_path)
    (tmp_path / "config.json").write_text('{"kind": "oasis", "settings": {}}')
    with pytest.raises(UserError, match="damaged"):
        load_source(tmp_path)
