"""From a scene to pictures and back: what is recorded is what is drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scenewright as sw
from scenewright.api import Settings, attention, differences, full_name, generate, replay
from scenewright.errors import UserError
from scenewright.record import read_picture, read_record
from scenewright.scene import Scene, Segment


def test_three_lines(scene: Scene, tiny_folder: Path, tmp_path: Path) -> None:
    sw.write_scene(scene, tmp_path / "scene.json")
    again = sw.read_scene(tmp_path / "scene.json")
    path = sw.generate(again, tiny_folder, guidance="zest", seed=0, steps=3)[0].save(tmp_path / "picture.png")
    assert path.exists()
    assert read_record(path).model.source == str(tiny_folder)


@pytest.mark.parametrize("guidance", ["none", "paint", "multidiffusion", "zest", "zest+paint"])
def test_replay_is_bit_exact(scene: Scene, tiny_folder: Path, tmp_path: Path, guidance: str) -> None:
    drawn = generate(scene, tiny_folder, guidance, steps=3, seed=11)[0]
    path = drawn.save(tmp_path / "a.png")
    again = replay(path)
    assert (np.asarray(again.image) == np.asarray(read_picture(path))).all()
    assert again.record.pixels == drawn.record.pixels
    assert not differences(drawn.record, again.record)


def test_replay_of_one_of_a_batch_with_soft_masks_noise_and_numbers_of_ones_own(tiny_model: Any) -> None:
    soft = np.random.default_rng(0).random((40, 56)).astype(np.float32)
    scene = Scene("a dog", (Segment(soft, "dog"), Segment(soft.round(), "sky", strength=0.7)), (40, 56))
    settings = {"steps": 4, "seed": 3, "count": 3, "together": True, "eta": 0.5, "negative": "a car"}
    drawn = generate(scene, tiny_model, "zest+paint", zest_eta=0.3, paint_weight=0.2, cfg_scale=2, **settings)
    assert [p.record.seed for p in drawn] == [3, 4, 5]
    assert len({p.record.pixels for p in drawn}) == 3
    again = replay(drawn[1].record, tiny_model)
    assert again.record.pixels == drawn[1].record.pixels
    assert again.record.parameters["paint.weight"] == 0.2
    assert again.record.parameters["zest.fraction"] == 0.5  # defaults are recorded too


def test_record_says_all_that_was_not_silent(scene: Scene, tiny_model: Any) -> None:
    scene = scene.add(Segment(np.ones(scene.size, np.float32), "green grass"), at=0)
    record = generate(scene, tiny_model, "none", steps=1)[0].record
    assert record.notes == ("added to the caption: green grass",)
    assert replay(record, tiny_model).record.notes == record.notes
    assert record.model.source == ""
    with pytest.raises(UserError, match="in memory"):
        replay(record)


def test_changed_weights_and_versions_are_told(scene: Scene, tiny_model: Any) -> None:
    record = generate(scene, tiny_model, "none", steps=1)[0].record
    model = record.model.model_copy(update={"sha256": "f" * 64})
    other = record.model_copy(update={"model": model, "versions": record.versions | {"torch": "1.0"}})
    told = differences(other, record)
    assert len(told) == 2
    assert told[0].startswith("the weights differ (ffff")
    assert told[1].startswith("torch was 1.0 then")


def test_attention_of_each_segment_at_each_step(scene: Scene, tiny_model: Any) -> None:
    picture, maps = attention(scene, tiny_model, guidance="none", steps=3, seed=2)
    assert maps.shape[:2] == (3, 2)
    assert (maps >= 0).all()
    assert (maps <= 1).all()
    assert picture.record.pixels == generate(scene, tiny_model, "none", steps=3, seed=2)[0].record.pixels


def test_pictures_show_themselves_in_jupyter(scene: Scene, tiny_model: Any) -> None:
    assert generate(scene, tiny_model, "none", steps=1)[0]._repr_png_().startswith(b"\x89PNG")


def test_scene_without_segments_is_drawn_from_its_caption(tiny_model: Any) -> None:
    assert generate(Scene("a dog", (), (32, 32)), tiny_model, "zest", steps=2)[0].image.size == (32, 32)


def test_sixty_segments(tiny_model: Any) -> None:
    masks = np.zeros((60, 32, 32), np.float32)
    masks.reshape(60, -1)[np.arange(60), np.arange(60) * 17] = 1
    scene = Scene("a dog", tuple(Segment(mask, "dog") for mask in masks), (32, 32))
    assert generate(scene, tiny_model, "zest+paint", steps=2)[0].image.size == (32, 32)


def test_segments_past_the_token_limit_are_left_out_and_said(scene: Scene, tiny_model: Any) -> None:
    mask = np.ones(scene.size, np.float32)
    small = np.zeros(scene.size, np.float32)
    small[:2] = 1
    long = Scene("a dog " * 8 + "on a tree in front of a house", scene.segments[1:], scene.size)
    long = long.add(Segment(mask, "house")).add(Segment(mask, "blue sky")).add(Segment(small, "green grass"))
    with pytest.warns(UserWarning, match="token limit") as told:
        picture = generate(long, tiny_model, "zest", steps=2)[0]
    assert [str(w.message).partition(": ")[2] for w in told] == ["house", "green grass", "blue sky"]
    assert [s.text for s in picture.record.scene.scene().segments] == ["dog"]
    assert replay(picture.record, tiny_model).record.pixels == picture.record.pixels


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"guidance": "zset"}, "did you mean 'zest'"),
        ({"guidance": "zest,zest,multidifusion"}, "not known"),
        ({"solver": "heun"}, "choose from ddim"),
        ({"steps": 0}, "steps is 0"),
        ({"count": 0}, "count is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"eta": 2.0}, "eta is 2.0"),
        ({"eta": float("nan")}, "eta is nan"),
        ({"parameters": {"zest.etta": 1}}, "did you mean 'zest.eta'"),
        ({"parameters": {"zest.eta": "much"}}, "zest.eta is 'much'"),
        ({"parameters": {"zest.eta": float("nan")}}, "eta is nan"),
        ({"parameters": {"zest.loss": "l2"}}, "l2"),
        ({"guidance": "none", "parameters": {"zest.eta": 1}}, "not known"),
    ],
)
def test_wrong_settings_say_what_and_how(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Settings(**values)


def test_defaults_that_add_noise_are_dropped_beside_solvers_that_add_none(scene: Scene) -> None:
    assert Settings("zest").complete("embedded")["zest.ddim_eta"] == 1.0
    assert Settings("zest", solver="euler").complete("embedded")["zest.ddim_eta"] is None
    given = Settings("zest", solver="euler", parameters={"zest.ddim_eta": 0.5})
    assert given.complete("embedded")["zest.ddim_eta"] == 0.5
    (picture,) = generate(scene, "embedded", "zest", steps=2, solver="dpm++2m")
    assert picture.record.parameters["zest.ddim_eta"] is None
    with pytest.raises(UserError, match="set its ddim_eta to 0 or use ddim"):
        generate(scene, "embedded", "zest", steps=2, solver="dpm++2m", zest_ddim_eta=0.5)


def test_short_and_python_names_of_parameters() -> None:
    known = {"zest.eta": 1, "zest.ddim_eta": None, "paint.weight": None}
    assert full_name("eta", known) == full_name("zest_eta", known) == full_name("zest.eta", known) == "zest.eta"
    assert full_name("zest_ddim_eta", known) == "zest.ddim_eta"
    with pytest.raises(UserError, match="write the whole name"):
        full_name("eta", known | {"paint.eta": 1})


def test_unknown_and_unsafe_models(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'embedded'"):
        generate(scene, "embeded")
    (tmp_path / "weights.ckpt").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="pickle"):
        generate(scene, tmp_path / "weights.ckpt")
    with pytest.raises(UserError):
        generate(scene, tmp_path)
