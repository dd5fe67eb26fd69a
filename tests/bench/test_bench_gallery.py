"""The gallery: a sheet, the single pictures, a figure per column."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from truth import oracle_judges

from scenewright.bench.gallery import CELL, COLUMNS, GAP, labelled, make
from scenewright.bench.scoring import Judges
from scenewright.errors import UserError
from scenewright.guidance import USUAL
from scenewright.scene import Scene, Segment


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Judges:
    return oracle_judges(monkeypatch)


def test_gallery(tiny_model: Any, oracle: Judges, tmp_path: Path) -> None:
    told: list[str] = []
    miou = make(tiny_model, oracle, tmp_path, scenes=2, steps=2, told=told.append)
    assert list(miou) == list(USUAL) == list(COLUMNS)
    assert json.loads((tmp_path / "gallery.json").read_text())["miou"].keys() == miou.keys()
    with Image.open(tmp_path / "gallery.png") as sheet:
        assert sheet.width == 6 * (CELL + GAP)
        assert sheet.height > 2 * CELL
    names = {path.name for path in tmp_path.glob("0*.png")}
    assert names == {f"{i:02d}_{name}.png" for i in range(2) for name in ("layout", *USUAL)}
    with pytest.raises(UserError, match="at least one"):
        make(tiny_model, oracle, tmp_path, scenes=0)


def test_labels_are_drawn_inside_the_layout() -> None:
    edge = np.zeros((32, 32))
    edge[:, 30:] = 1
    plain = Scene("", (Segment(edge, ""),), (32, 32))
    named = Scene(
        "",
        (Segment(edge, "a very long name that cannot fit into the cell at all"), Segment(edge * 0, "nothing")),
        (32, 32),
    )
    assert np.any(np.asarray(labelled(named)) != np.asarray(labelled(plain)))
    assert labelled(named).size == (CELL, CELL)
