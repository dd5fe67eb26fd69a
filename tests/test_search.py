"""Searching for the map that says most of the caption."""

import numpy as np
import pytest
import torch

from scenewright.backends.analytic import GaussianMixture
from scenewright.errors import UserError
from scenewright.graph.factor import Factor
from scenewright.maps import Segmentation
from scenewright.scene import Scene, Segment
from scenewright.search import Dropping, Recall, attribute_recall, best_of, noun_chunks, objects_of, search
from scenewright.world import CLASSES, KINDS, render

CODEC = Segmentation(CLASSES)


@pytest.mark.parametrize(
    ("caption", "chunks"),
    [
        ("a picture of a red car and two dogs under a clear sky", ("red car", "dogs", "clear sky")),
        ("An elephant, a kite and a traffic light on the grass", ("elephant", "kite", "traffic light", "grass")),
        ("under a night sky, a person in blue standing on snow", ("night sky", "person", "blue", "snow")),
        ("", ()),
        ("a photo of the", ()),
    ],
)
def test_chunks_of_captions(caption, chunks):
    assert noun_chunks(caption) == chunks


def test_every_object_of_the_worlds_captions_is_found():
    for seed in range(10):
        sample = render(seed, 16, shaded=False)
        said = {CLASSES[phrase.class_id] for phrase in sample.phrases}
        for caption in sample.captions:
            assert set(objects_of(caption, everything=True)) == said
            if said & set(KINDS):
                assert set(objects_of(caption)) == said & set(KINDS)


def test_objects_come_from_segments_or_lists_too():
    mask = np.ones((4, 4))
    scene = Scene("a dog", (Segment(mask, "a big red bus"), Segment(mask, "sky", stuff=True)), (4, 4))
    assert objects_of(scene) == ("bus",)
    assert objects_of(Scene("a dog on grass", (), (4, 4))) == ("dog",)
    assert objects_of(["puppy", "lorry", "dog"]) == ("dog", "truck")
    with pytest.raises(UserError, match="no known object in 'happiness'"):
        objects_of("happiness")


def test_recall_is_exact_on_true_maps():
    for seed in range(4):
        sample = render(seed, 64, shaded=False)
        names = sorted({CLASSES[p.class_id] for p in sample.phrases if p.instance}) or ["dog"]
        there = [name for name in names if (sample.classes == CLASSES.index(name)).mean() >= 0.004]
        assert Recall(CODEC, tuple(names))(sample.classes) == len(there) / len(names)
        ground = attribute_recall(CODEC, sample.caption)
        assert set(ground.shown(sample.classes)) <= set(ground.wanted)
        assert ground(sample.classes) == 1
    sky = np.full((10, 10), CLASSES.index("sky"))
    assert Recall(CODEC, ("dog", "sky"))(sky) == 0.5
    assert Recall(CODEC, ("dog",), least=0)(sky) == 1  # nothing is asked of it
    with pytest.raises(UserError, match="no surroundings"):
        attribute_recall(CODEC, "a dog")
    with pytest.raises(UserError, match="'rhino'"):
        Recall(CODEC, ("rhino",))


def test_best_of_takes_the_first_of_the_best():
    best = best_of(["a", "bbb", "cc", "ddd"], len)
    assert (best.row, best.score, best.scores) == (1, 3, (1, 3, 2, 3))
    with pytest.raises(UserError, match="at least one"):
        best_of([], len)


def toy(steps: int = 20) -> Factor:
    """Draws of one of four flat grey maps; their "map" is the grey value."""

    class Grey:
        def encode(self, values: float) -> np.ndarray:
            return np.full((1, 1, 3), values, np.float32)

        def decode(self, picture: np.ndarray) -> float:
            return float(picture.mean())

    means = torch.tensor([-0.9, -0.3, 0.3, 0.9])[:, None, None, None]
    model = GaussianMixture(means, torch.full((4,), 0.02), torch.ones(4) / 4)
    return Factor("segmentation", ("caption",), model, Grey(), steps=steps)


def test_early_dropping_finds_the_same_best_draw():
    seeds = range(12)
    whole, drawn = search(toy(), "", seeds, float)
    few, survivors = search(toy(), "", seeds, float, Dropping(0.6, 0.5))
    assert (len(drawn), len(survivors)) == (12, 6)
    assert few.score == whole.score
    assert np.isnan(few.seeds).sum() == 6
    kept = [i for i, score in enumerate(few.seeds) if not np.isnan(score)]
    assert torch.allclose(survivors.latents, drawn.latents[kept])  # as if the others had never been drawn
    assert np.allclose([whole.seeds[i] for i in kept], few.scores)
    assert few.seeds[kept[few.row]] == few.score


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(UserError, match="at least one seed"):
        search(toy(), "", [], float)
    with pytest.raises(UserError, match="no parent but the caption"):
        search(Factor("depth", ("segmentation",), toy().model, CODEC), "", [0], float)
    for wrong in ((0.0, 0.5), (0.5, 0.0), (1.5, 0.5)):
        with pytest.raises(UserError, match="give shares up to 1"):
            Dropping(*wrong)
    assert Dropping(0.5, 0.1).survivors([0.2, 0.9, 0.9]) == [1]
    assert Dropping(0.5, 0.67).survivors([0.9, 0.2, 0.9]) == [0, 2]
