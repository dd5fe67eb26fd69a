"""Layouts of other people: read, linted, drawn; the real ones where they are present."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from truth import oracle_judges

from scenewright.bench import real as bench
from scenewright.bench.scoring import Judges
from scenewright.errors import UserError
from scenewright.scene import Scene, Segment
from scenewright.scene_io import write_scene

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Judges:
    return oracle_judges(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three scenes and a broken file in a folder that has the name of a real one."""
    place = tmp_path / bench.FOLDERS[0]
    place.mkdir()
    for i, text in enumerate(("a red car", "a gizmo", "dogs")):
        mask = np.zeros((24, 30), np.float32)
        mask[6:20, 3 + i : 20] = 1
        scene = Scene(f"{text} on grass", (Segment(mask, text), Segment(mask[::-1], "")), (24, 30))
        write_scene(scene, place / f"scene{i}.json")
    (place / "zz_broken.json").write_text("{")
    return tmp_path


def test_collect_counts_words_and_failures(tiny_model: Any, folder: Path) -> None:
    (part,) = bench.collections(folder, tiny_model)
    assert (part.texts, part.covered) == (3, 2)
    assert part.coverage == pytest.approx(2 / 3)
    assert len(part.scenes) == 3
    assert list(part.failed) == ["zz_broken"]
    assert part.findings > 0
    assert all(scene.size == (128, 128) and len(scene.segments) == 1 for scene in part.scenes)


def test_rows_per_folder_and_method(tiny_model: Any, oracle: Judges, folder: Path, tmp_path: Path) -> None:
    parts = bench.collections(folder, tiny_model)
    path = tmp_path / "real.json"
    settings: dict[str, Any] = {"methods": ["none", "zest"], "steps": 2, "reference": 3}
    rows = list(bench.measure(tiny_model, oracle, parts, path, **settings))
    assert [(row["setting"], row["method"]) for row in rows] == [(bench.FOLDERS[0], m) for m in ("none", "zest")]
    assert all(0 <= row["miou"] <= 1 and row["failed"] == 1 for row in rows)
    before = path.stat().st_mtime_ns
    assert len(list(bench.measure(tiny_model, oracle, parts, path, **settings))) == 2
    assert path.stat().st_mtime_ns == before


def test_wrong_folder_is_refused(tiny_model: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--data"):
        bench.collections(tmp_path, tiny_model)


@pytest.mark.skipif(not (DATA / bench.FOLDERS[1]).is_dir(), reason="the shared layouts are not here")
def test_world_covers_most_real_words(tiny_model: Any) -> None:
    from scenewright.runs import entries
    from scenewright.world import class_of

    texts = [
        segment.text
        for name in bench.FOLDERS
        for entry in entries([DATA / name]).sources
        for segment in entry.read().segments
        if segment.text
    ]
    assert len(texts) > 100
    assert np.mean([class_of(text) is not None for text in texts]) >= 0.6


def test_phrases_past_the_token_limit_lose_the_smallest_segments(tiny_model: Any) -> None:
    def thing(i: int) -> Segment:
        mask = np.zeros((32, 32), np.float32)
        mask[: i + 2, :20] = 1
        return Segment(mask, f"thing number {i}")

    scene = Scene("a red car", tuple(thing(i) for i in range(9)), (32, 32))
    with pytest.raises(UserError, match="past this model's limit"):
        tiny_model.encode(scene)
    kept = bench.readable(scene, tiny_model).segments
    assert 1 <= len(kept) < 9
    assert [segment.text for segment in kept] == [f"thing number {i}" for i in range(9 - len(kept), 9)]
