"""Runs over many scenes: resumable, whole, and one bad scene never stops the others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenewright.api import Settings
from scenewright.errors import UserError
from scenewright.record import read_record
from scenewright.runs import Run, Summary, distinct, entries, file_name
from scenewright.scene import Scene
from scenewright.scene_io import write_scene


@pytest.fixture
def folder(scene: Scene, tmp_path: Path) -> Path:
    """Three scenes, one of them unreadable, one with a word the model does not know."""
    place = tmp_path / "scenes"
    place.mkdir()
    write_scene(scene, place / "a.json")
    (place / "b.json").write_text('{"segments": 3}')
    write_scene(scene.restyle("dog", text="zeppelin"), place / "c.json")
    (place / "other.json").write_text('{"about": "these scenes"}')
    return place


def run(model: Any, folder: Path, out: Path, **settings: Any) -> Summary:
    return Run(model, "tiny", Settings(**{"guidance": "none", "steps": 2} | settings), out).draw_all(entries([folder]))


def test_bad_scene_does_not_stop_the_others(tiny_model: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = run(tiny_model, folder, out, count=2)
    assert (summary.scenes, summary.pictures, summary.skipped) == (3, 4, 0)
    assert [failure.scene for failure in summary.failed] == ["b"]
    assert [left.scene for left in summary.left_out] == [str(folder / "other.json")]
    assert "zeppelin" in summary.unknown_words
    assert sorted(p.name for p in out.glob("*.png")) == ["a_0.png", "a_1.png", "c_0.png", "c_1.png"]
    assert read_record(out / "a_1.png").seed == 1
    assert Summary.model_validate(json.loads((out / "summary.json").read_text())) == summary


def test_same_run_again_draws_nothing_and_other_settings_draw_anew(
    tiny_model: Any, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(tiny_model, folder, out)
    stamp = (out / "a_0.png").stat().st_mtime_ns
    again = run(tiny_model, folder, out)
    assert (again.pictures, again.skipped) == (0, 2)
    assert (out / "a_0.png").stat().st_mtime_ns == stamp
    (out / "c_0.png").write_bytes((out / "c_0.png").read_bytes()[:100])
    assert run(tiny_model, folder, out).pictures == 1
    assert run(tiny_model, folder, out, steps=3).pictures == 2
    assert run(tiny_model, folder, out, steps=3, count=2, together=True).pictures == 2  # seed 0 of each is there


def test_interrupted_run_keeps_whole_pictures_and_resumes(tiny_model: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    drawing = Run(tiny_model, "tiny", Settings("none", steps=2, count=3), out)
    heard = []

    def interrupt(text: str, amount: float = 1.0) -> None:
        heard.append(amount)
        if sum(heard) > 1.2:
            raise KeyboardInterrupt

    drawing.told = interrupt
    with pytest.raises(KeyboardInterrupt):
        drawing.draw_all(entries([folder]))
    assert json.loads((out / "summary.json").read_text())["interrupted"]
    assert [p.name for p in out.glob("*.png")] == ["a_0.png"]
    assert not list(out.glob(".*"))
    resumed = run(tiny_model, folder, out, count=3)
    assert (resumed.pictures, resumed.skipped, resumed.interrupted) == (5, 1, False)


def test_progress_adds_up_to_the_pictures(tiny_model: Any, folder: Path, tmp_path: Path) -> None:
    amounts = []
    told = lambda text, amount=1.0: amounts.append(amount)  # noqa: E731
    Run(tiny_model, "tiny", Settings("none", steps=3), tmp_path / "out", told).draw_all(entries([folder]))
    assert np.isclose(sum(amounts), 3)  # the unreadable scene counts as done


def test_scenes_of_one_name_do_not_overwrite_each_other(scene: Scene, tmp_path: Path) -> None:
    for part in ("x", "y"):
        write_scene(scene, tmp_path / part / "scene.json")
    names = [entry.name for entry in entries([tmp_path / "x", tmp_path / "y"]).sources]
    assert names == ["scene", "scene-2"]


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no scene"):
        entries([tmp_path])
    with pytest.raises(UserError, match="does not exist"):
        entries([tmp_path / "nothing.json"])


@given(st.lists(st.text(max_size=120), max_size=20))
def test_names_are_distinct_and_safe(names: list[str]) -> None:
    found = distinct(names)
    assert len({name.casefold() for name in found}) == len(names)
    assert all(name and not set(name) & set('/\\:*?"<>|\n\0') and not name.startswith(".") for name in found)


def test_file_names_keep_readable_words() -> None:
    assert file_name("a red car / 猫") == "a-red-car-猫"
