"""`bench transfer` with a tiny source and judges that know the truth."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from scenewright.bench import transfer as bench
from scenewright.bench.scoring import Judges
from scenewright.errors import UserError
from scenewright.transfer import affinity
from scenewright.transfer.folder import Source
from scenewright.transfer.oasis import Oasis, OasisConfig
from scenewright.world import CLASSES
from scenewright.world.second import CORRESPONDENCE, NAMES, oracle

TINY = OasisConfig(len(CLASSES), (16, 16), noise=2, widths=(4, 4, 4), hidden=(2, 2), down=(2, 4), up=(4, 2))


def judges() -> Judges:
    """A segmenter by colour, features that are mean colours."""
    colours = lambda images: images.reshape(len(images), -1, 3).mean(1)  # noqa: E731
    segment = lambda images: (images[..., 0] // 8 + 1).astype(np.int64)  # noqa: E731
    return Judges(segment, colours, lambda texts: np.zeros((len(texts), 3)), "toy")


def test_rows_are_measured_once_and_hold_what_the_issue_asks_for(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = Source(Oasis(TINY).eval(), CLASSES)
    plan = bench.Plan(("random", "oracle", "scratch"), (4,), (0,), True, steps=2, samples=8)
    path = tmp_path / "rows.json"
    rows = list(bench.measure(source, "w", judges(), plan, path, tmp_path / "work"))
    assert [(row["affinity"], row["finetuned"]) for row in rows] == [
        (name, after) for name in ("random", "oracle", "scratch") for after in (False, True)
    ]
    assert {"model", "affinity", "pictures", "finetuned", "fid", "miou", "seed"} <= rows[0].keys()
    assert [row["right"] for row in rows[2:]] == [1, 1, None, None]
    assert all(np.isfinite(row["fid"]) for row in rows)
    again = list(bench.measure(source, "w", judges(), plan, path, tmp_path / "none"))
    assert again == json.loads(path.read_text())
    assert not (tmp_path / "none").exists()


def test_the_oracle_is_right_and_chance_is_not() -> None:
    assert bench.right(affinity.given("oracle", CLASSES, NAMES, oracle())) == 1
    chance = np.mean([bench.right(affinity.at_random(CLASSES, NAMES, seed)) for seed in range(40)])
    told = [len(sources) for sources in CORRESPONDENCE.values() if sources]
    assert chance == pytest.approx(np.mean(told) / (len(CLASSES) - 1), abs=0.02)


def test_words_that_mean_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="affinity 'magic' is not known"):
        bench.Plan(("magic",))
    with pytest.raises(UserError, match="at least 8 samples"):
        bench.Plan(samples=2)
