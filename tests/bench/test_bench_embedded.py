"""The embedded bench: on renders the oracle finds everything; on a random model every figure is still a figure."""

from typing import Any

import numpy as np
import pytest
from truth import oracle_judges

from scenewright.bench import embedded as bench
from scenewright.bench.drawing import renders
from scenewright.bench.scoring import Judges
from scenewright.errors import UserError
from scenewright.metrics.objects import found
from scenewright.world import CLASS_ID, held_out, render

REQUIRED = (
    "autoencoder_psnr",
    "segmenter_miou",
    "recall_1_2",
    "recall_3_5",
    "color_accuracy",
    "ground_sky_accuracy",
    "recall_unseen_pairs",
    "fid",
    "fid_floor",
)


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Judges:
    return oracle_judges(monkeypatch)


@pytest.fixture(scope="module")
def real() -> bench.Seen:
    """Renders with their true class maps."""
    samples = [render(20_000_000 + i) for i in range(24)]
    return bench.Seen(samples, *(np.stack([getattr(s, name) for s in samples]) for name in ("image", "classes")))


def test_truth_scores_full_marks(real: bench.Seen) -> None:
    colours = bench.learned(real.samples)
    figures = bench.objects(real, colours) | bench.segmentation(real)
    assert (figures["recall_1_2"], figures["recall_3_5"]) == (1, 1)
    assert (figures["segmenter_miou"], figures["segmenter_miou_objects"]) == (1, 1)
    assert figures["color_accuracy"] > 0.75
    assert bench.colour_ceiling(real.samples, colours) > 0.75
    assert figures["ground_sky_accuracy"] > 0.95


def test_empty_maps_score_nothing(real: bench.Seen) -> None:
    nothing = bench.Seen(real.samples, real.images, np.zeros_like(real.classes))
    figures = bench.objects(nothing, bench.learned(real.samples))
    assert (figures["recall_1_2"], figures["recall_3_5"], figures["ground_sky_accuracy"]) == (0, 0, 0)
    assert np.isnan(figures["color_accuracy"])


def test_wrong_ground_is_wrong(real: bench.Seen) -> None:
    sample, classes = real.samples[0], real.classes[0].copy()
    assert bench.ground_and_sky_right(sample, classes)
    ground = CLASS_ID[sample.composition.ground]
    classes[classes == ground] = CLASS_ID["road" if sample.composition.ground != "road" else "grass"]
    assert not bench.ground_and_sky_right(sample, classes)


def test_unseen_pairs_are_held_out_ones(oracle: Judges) -> None:
    samples = renders(range(22_000_000, 22_000_012), unseen=True)
    unseen = bench.seen(oracle, samples, np.stack([sample.image for sample in samples]))
    named = [pair for sample in samples for pair in bench.named_colours(sample) if held_out(*pair)]
    figures = bench.pairs(unseen, unseen, bench.learned(samples))
    assert len(named) >= 6
    assert figures["unseen_pairs"] == len(named)
    assert figures["recall_unseen_pairs"] == 1
    for sample, classes in zip(samples, unseen.classes, strict=True):
        assert all(found(classes, CLASS_ID[kind]) for kind, _ in bench.named_colours(sample))


def test_twins_have_no_colour_of_their_own(real: bench.Seen) -> None:
    for sample in real.samples:
        kinds = [kind for kind, _ in bench.named_colours(sample)]
        assert len(kinds) == len(set(kinds))


def test_every_figure_on_a_random_model(tiny_model: Any, oracle: Judges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "CALIBRATION", 8)
    monkeypatch.setattr(bench, "reconstruction", lambda model, images, batch: np.array([30.0]))
    told: list[str] = []
    figures = bench.measure(tiny_model, oracle, samples=8, steps=2, batch=6, told=told.append)
    assert set(REQUIRED) <= set(figures)
    assert figures["segmenter_miou"] == 1
    assert figures["samples"] == 8
    assert len(told) == bench.steps_of(8)
    with pytest.raises(UserError, match="at least 8"):
        bench.measure(tiny_model, oracle, samples=2)


def test_reconstruction_is_the_autoencoder_there_and_back(tiny_model: Any) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    scores = bench.reconstruction(tiny_model, images, batch=2)
    assert scores.shape == (3,)
    back = tiny_model.decode(tiny_model.encode_image(images))
    error = ((images.astype(float) - back.astype(float)) ** 2).mean((1, 2, 3))
    assert np.allclose(scores, 10 * np.log10(255**2 / error))
