"""The layout bench: the world's own renders score 1, rows resume, every method runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from truth import oracle_judges

from scenewright.bench import layout as bench
from scenewright.bench.layout import RENDERS, Plan, held_out_scenes, measure
from scenewright.bench.scoring import Judges, asked_for
from scenewright.errors import UserError
from scenewright.guidance import USUAL
from scenewright.scene import Scene, Segment
from scenewright.world import CLASS_ID, KINDS, class_of


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Judges:
    return oracle_judges(monkeypatch)


def small(**changes: Any) -> Plan:
    settings: dict[str, Any] = {"samples": 3, "steps": 2, "batch": 2, "reference": 4}
    return Plan(**(settings | changes))


@pytest.mark.parametrize("setting", bench.SETTINGS)
def test_renders_score_one(setting: str, tiny_model: Any, oracle: Judges) -> None:
    (row,) = measure(tiny_model, oracle, small(setting=setting, methods=[RENDERS]))
    assert (row["miou"], row["miou_full"]) == (1, 1)
    assert row["miou_stuff"] == 1 or setting.startswith("few")
    assert row["setting"] == setting


def test_settings_choose_segments(oracle: Judges) -> None:
    for sample, scene in zip(*held_out_scenes("few", 4, "test"), strict=True):
        assert 1 <= len(scene.segments) <= 3
        assert all(segment.area > 0.05 and class_of(segment.text) in KINDS for segment in scene.segments)
        assert scene.caption == sample.caption
        assert sample.seed >= 20_000_000
    for _, scene in zip(*held_out_scenes("filtered", 2, "validation"), strict=True):
        assert all(segment.area > 0.05 for segment in scene.segments)


def test_every_method_gives_a_row_and_rows_resume(
    tiny_model: Any, oracle: Judges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "layout.json"
    told: list[str] = []
    rows = list(measure(tiny_model, oracle, small(), path, told.append))
    assert [row["method"] for row in rows] == [*USUAL, RENDERS]
    assert json.loads(path.read_text()) == [bench_finite(row) for row in rows]
    assert all(set(bench.COLUMNS) <= set(row) for row in rows)
    assert len(told) >= bench.steps_of(small())

    def forbidden(*arguments: Any, **named: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(bench, "draw", forbidden)
    monkeypatch.setattr(bench, "renders", forbidden)
    assert [row["method"] for row in measure(tiny_model, oracle, small(), path)] == [*USUAL, RENDERS]
    with pytest.raises(AssertionError, match="measured again"):
        list(measure(tiny_model, oracle, small(seed=1), path))


def bench_finite(row: Any) -> Any:
    from scenewright.bench.rows import finite

    return finite(row)


def test_interrupted_run_keeps_finished_rows(
    tiny_model: Any, oracle: Judges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "layout.json"
    whole = bench.draw

    def stop_at_paint(model: Any, scenes: Any, method: str, **named: Any) -> Any:
        if method == "paint":
            raise KeyboardInterrupt
        return whole(model, scenes, method, **named)

    monkeypatch.setattr(bench, "draw", stop_at_paint)
    with pytest.raises(KeyboardInterrupt):
        list(measure(tiny_model, oracle, small(methods=["none", "paint"]), path))
    assert [row["method"] for row in json.loads(path.read_text())] == ["none"]
    monkeypatch.setattr(bench, "draw", whole)
    rows = list(measure(tiny_model, oracle, small(methods=["none", "paint"]), path))
    assert [row["method"] for row in rows] == ["none", "paint"]


def test_pictures_do_not_depend_on_the_batch(tiny_model: Any, oracle: Judges) -> None:
    scenes = held_out_scenes("few", 3, "test")[1]
    one = bench.draw(tiny_model, scenes, "zest", steps=2, batch=1)[0]
    many = bench.draw(tiny_model, scenes, "zest", steps=2, batch=3)[0]
    assert np.abs(one.astype(int) - many.astype(int)).max() <= 1


def test_parameters_reach_only_their_method() -> None:
    plan = small(parameters={"zest.eta": "0.5", "cfg.scale": "3", "paint.weight": "1"})
    assert plan.parameters_of("none") == {"cfg.scale": "3"}
    assert plan.parameters_of("zest+paint") == {"zest.eta": "0.5", "cfg.scale": "3", "paint.weight": "1"}


@pytest.mark.parametrize(
    "wrong", [{"setting": "many"}, {"split": "train"}, {"samples": 1}, {"batch": 0}, {"methods": ["magic"]}]
)
def test_wrong_plans_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        small(**wrong)


def test_front_segment_is_asked_for_and_unknown_words_are_not() -> None:
    whole, left, corner = np.ones((4, 4)), np.zeros((4, 4)), np.zeros((4, 4))
    left[:, :2] = 1
    corner[0, 0] = 1
    segments = (Segment(whole, "grass"), Segment(left, "a small red car"), Segment(corner, "gizmo"))
    classes = asked_for(Scene("", segments, (4, 4)), (8, 8))
    assert (classes[:2, :2] == 0).all()
    assert (classes[2:, :4] == CLASS_ID["car"]).all()
    assert (classes[:, 4:] == CLASS_ID["grass"]).all()
