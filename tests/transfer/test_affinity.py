"""Affinity: estimates against counts made by hand, the vote against its rules, warnings against known strangers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as example
from hypothesis import strategies as st

from scenewright.errors import UserError
from scenewright.transfer import affinity, inspect, readers
from scenewright.transfer.affinity import Affinity
from scenewright.world import CLASSES
from scenewright.world.second import NAMES, oracle

SOURCE, TARGET = ("unlabelled", "cat", "dog", "car"), ("unlabelled", "pet", "van")


def says(
    *choices: int, alone: tuple[int, ...] = (), shares: tuple[float, ...] | None = None, kind: str = "x"
) -> Affinity:
    """An estimate over SOURCE that maps class t + 1 to choices[t] with the given shares (1 by default)."""
    soft = np.zeros((4, len(choices) + 1))
    soft[0, 0] = 1
    for t, s in enumerate(choices, start=1):
        if s >= 0:
            share = shares[t - 1] if shares else 1.0
            soft[:, t] = (1 - share) / 3
            soft[s, t] = share
    lonely = np.isin(np.arange(len(choices) + 1), alone) | np.array([False, *(s < 0 for s in choices)])
    names = ("unlabelled", *map(str, choices))
    return Affinity("x", SOURCE, names, soft, np.array([0, *choices]), np.ones(len(names)), 0.0, lonely)


def test_confusion_counts_pixels_and_never_says_unlabelled() -> None:
    scores = torch.zeros(1, 4, 2, 2)
    scores[0, 0] = 9  # "unlabelled" is loudest everywhere
    scores[0, 1, 0], scores[0, 3, 1] = 1, 1
    labels = np.array([[[1, 1], [2, 1]]])
    counts = readers.confusion(lambda images: scores, np.zeros((1, 2, 2, 3), np.uint8), labels, 3)
    assert counts.tolist() == [[0, 0, 0], [0, 2, 0], [0, 0, 0], [0, 1, 1]]
    found = affinity.from_counts(SOURCE, TARGET, counts, np.array([0.4, 0.4, 0.4]))
    assert found.choice.tolist() == [0, 1, 3]
    assert np.allclose(found.soft[:, 1], [0, 2 / 3, 0, 1 / 3])
    assert found.hard().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_forbidden_is_what_is_left_without_the_right_class() -> None:
    scores = torch.zeros(1, 4, 1, 4)
    scores[0, 1], scores[0, 2, 0, :3], scores[0, 3, 0, 3] = 5, 2, 2  # all cat; behind it three times dog, once car
    labels = np.array([[[1, 1, 1, 1]]])
    nulls = readers.forbidden(lambda images: scores, np.zeros((1, 1, 4, 3), np.uint8), labels, 4)
    assert nulls[0] == 0.75
    assert np.isnan(nulls[1:]).all()


def test_prototypes_are_means_over_full_cells() -> None:
    features = torch.arange(4.0).view(1, 1, 2, 2)
    labels = np.full((1, 4, 4), 1)
    labels[0, :2, :2] = 2
    labels[0, 2, 2] = 3  # a quarter of a cell: it fills none
    rows = readers.prototypes(lambda images: features, np.zeros((1, 4, 4, 3), np.uint8), labels, 5)
    means = np.array([(1 + 2 + 0.75 * 3) / 2.75, 0.0, 3.0])
    assert np.allclose(rows[1:4, 0], means - means.mean())
    assert np.isnan(rows[[0, 4]]).all()


def test_cosines_find_the_turned_likeness_and_the_stranger() -> None:
    rng = np.random.default_rng(0)
    own = np.concatenate([rng.normal(size=(12, 64)), np.zeros((12, 8))], 1)
    strangers = np.concatenate([np.zeros((2, 64)), rng.normal(size=(2, 8))], 1)
    theirs = np.concatenate([own[:1], own[3:7] + 0.3 * rng.normal(size=(4, 72)), strangers])
    names = tuple(map(str, range(12)))
    found = affinity.from_cosines("x", names, names[:7], own, theirs, np.array([True] * 6 + [False]))
    assert found.choice.tolist()[:5] == [0, 3, 4, 5, 6]
    assert found.alone.tolist() == [False] * 5 + [True, True]
    assert found.choice[6] == -1
    assert np.allclose(found.soft.sum(0), [1] * 6 + [0])
    assert np.allclose(found.mixed().sum(0), 1)
    assert np.allclose(found.hard().sum(0), 1)


def test_the_majority_wins() -> None:
    assert affinity.vote([says(1, 2), says(1, 3), says(2, 3)]).choice.tolist() == [0, 1, 3]


def test_three_opinions_are_settled_by_the_stated_rule() -> None:
    three = [says(1, shares=(0.5,)), says(2, shares=(0.9,)), says(3, shares=(0.6,))]
    assert affinity.vote(three).choice[1] == 2
    assert affinity.vote(three, tie="first").choice[1] == 1
    with pytest.raises(UserError, match="choose from soft, first"):
        affinity.vote(three, tie="coin")


def test_who_abstains_or_found_nothing_does_not_outvote() -> None:
    assert affinity.vote([says(-1), says(2), says(-1)]).choice[1] == 2
    assert affinity.vote([says(1, alone=(1,)), says(1, alone=(1,)), says(2)]).choice[1] == 2
    assert affinity.vote([says(1, alone=(1,)), says(1, alone=(1,)), says(2, alone=(1,))]).choice[1] == 1
    nobody = affinity.vote([says(-1), says(-1)])
    assert nobody.choice[1] == -1
    assert nobody.alone[1]
    assert nobody.hard()[0, 1] == 1


@example(st.lists(st.lists(st.integers(1, 3), min_size=3, max_size=3), min_size=1, max_size=5), st.randoms())
def test_the_vote_is_one_of_the_choices_and_blind_to_order(rows: list[list[int]], random: Any) -> None:
    estimates = [says(*row, shares=(0.8, 0.7, 0.6)) for row in rows]
    first = affinity.vote(estimates)
    random.shuffle(estimates)
    assert all(first.choice[t] in {e.choice[t] for e in estimates} for t in range(4))
    counts = [[e.choice[t] for e in estimates].count(s) for t in (1,) for s in range(4)]
    if sorted(counts)[-1] > sorted(counts)[-2]:
        assert affinity.vote(estimates).choice[1] == first.choice[1]


def test_warnings_name_the_strangers_and_say_when_there_are_too_many() -> None:
    few = affinity.warnings(says(1, 2, 3, alone=(2,)))
    assert few == ["'2' resembles no class of the source model (the likest is 'dog')"]
    many = affinity.warnings(says(1, 2, -1, alone=(2,)))
    assert len(many) == 3
    assert "2 of 3 classes resemble nothing" in many[0]
    assert "nothing is known of it" in many[2]
    assert not affinity.warnings(affinity.given("oracle", CLASSES, NAMES, oracle()))


def test_chance_is_hard_and_repeatable() -> None:
    one, two = (affinity.at_random(CLASSES, NAMES, 3) for _ in range(2))
    assert np.array_equal(one.soft, two.soft)
    assert (one.hard().sum(0) == 1).all()
    assert one.choice[0] == 0
    assert (one.choice[1:] > 0).all()


def test_it_can_be_looked_at() -> None:
    pytest.importorskip("matplotlib")
    found = says(1, -1, alone=(1,))
    assert inspect.plot([found, found])[:8] == b"\x89PNG\r\n\x1a\n"
    assert "cat 1.00" in inspect.table(found)
    assert "(resembles nothing)" in inspect.table(found)
    told = inspect.as_json(found)["classes"]
    assert told["1"] == {"source": "cat", "top": [["cat", 1.0]], "resembles_nothing": True}
    assert told["-1"]["source"] is None


@pytest.mark.weights
def test_the_embedded_text_encoder_knows_its_words() -> None:
    found = readers.text_affinity(readers.TextEncoder.load(), CLASSES, NAMES)
    drawn = dict(zip(NAMES, [CLASSES[s] if s >= 0 else None for s in found.choice], strict=True))
    assert [drawn[name] for name in ("meadow", "street", "sea", "beach")] == ["grass", "road", "water", "sand"]
    assert drawn["snowman"] is None
    same = readers.text_affinity(readers.TextEncoder.load(), CLASSES, CLASSES)
    assert (same.choice == np.arange(len(CLASSES))).all()
    assert not same.alone.any()


def test_text_encoders_and_vision_networks_open_from_folders(tmp_path: Path, tiny_folder: Path) -> None:
    from transformers import AutoTokenizer, CLIPTextModel, ViTConfig, ViTModel

    CLIPTextModel.from_pretrained(tiny_folder / "text_encoder").save_pretrained(tmp_path / "text")
    AutoTokenizer.from_pretrained(tiny_folder / "tokenizer").save_pretrained(tmp_path / "text")
    features, known = readers.TextEncoder.load(str(tmp_path / "text"))(["red car", "zzz"])
    assert features.shape == (2, 16)
    assert known.tolist() == [True, False]
    config = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=32)
    ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "vit")
    images = np.zeros((3, 48, 48, 3), np.uint8)
    assert readers.DenseFeatures.load(tmp_path / "vit")(images).shape == (3, 8, 2, 2)
    with pytest.raises(UserError, match="reads no pictures"):
        readers.DenseFeatures.load(tmp_path / "text")
    with pytest.raises(UserError, match="no text encoder that can be read"):
        readers.TextEncoder.load(str(tmp_path))
