"""`scenewright transfer` from pictures to drawn label maps, with a tiny source."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_pairs import halves, write

from scenewright import api
from scenewright.backends import load
from scenewright.cli import run
from scenewright.errors import UserError
from scenewright.scene import Scene, Segment
from scenewright.transfer.folder import Source, load_source, save_source
from scenewright.transfer.oasis import Oasis, OasisConfig, one_hot

TINY = OasisConfig(4, (16, 16), noise=2, widths=(8, 8, 4), hidden=(4, 4), down=(4, 8), up=(8, 4))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_source(Source(Oasis(TINY), ("unlabelled", "sky", "road", "car")), tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    labels = {str(i): halves(i % 2, 2) for i in range(4)}
    pictures, maps, names = write(tmp_path / "data", labels, "street\nsky\ncar\n")
    return ["--pictures", str(pictures), "--labels", str(maps), "--names", str(names)]


@pytest.mark.weights
def test_train_free_then_generate(tmp_path: Path, source: Path, data: list[str], capsys) -> None:
    out = tmp_path / "new"
    command = ["transfer", "--source", str(source), *data, "-o", str(out), "--train-free", "--affinity", "text"]
    assert run(command) == 0
    assert re.search("street +road", capsys.readouterr().out)
    classes = json.loads((out / "affinity.json").read_text())["used"]["classes"]
    assert {name: row["source"] for name, row in classes.items()} == {"street": "road", "sky": "sky", "car": "car"}
    old, new = load_source(source), load_source(out)
    maps, z = torch.randint(0, 4, (1, 16, 16)), torch.randn(1, 2)
    order = torch.tensor([0, 2, 1, 3])  # of our classes among theirs
    with torch.no_grad():
        theirs = old.pair.generator(one_hot(order[maps], 4), z)
        assert torch.allclose(new.pair.generator(one_hot(maps, 4), z), theirs, atol=2e-3)
    drawn = tmp_path / "drawn"
    assert run(["generate", data[3], "--labels", "--model", str(out), "-o", str(drawn), "--seed", "5"]) == 0
    assert len(list(drawn.glob("*_5.png"))) == 4
    assert run(["replay", str(drawn / "0_5.png"), "-o", str(tmp_path / "again.png")]) == 0
    assert run(command) == 2
    assert "holds a model already" in capsys.readouterr().err


@pytest.mark.weights
def test_training_stops_and_goes_on(tmp_path: Path, source: Path, data: list[str], capsys) -> None:
    out = tmp_path / "new"
    command = ["transfer", "--source", str(source), *data, "-o", str(out), "--steps", "6", "--affinity", "text"]
    assert run([*command, "--minutes", "0.00001"]) == 0
    assert "the same command goes on" in capsys.readouterr().err
    assert (out / "training" / "checkpoint.safetensors").exists()
    assert run([*command, "--learn", "first"]) == 2
    assert "other settings" in capsys.readouterr().err
    assert run(command) == 0
    assert not (out / "training").exists()
    assert load_source(out).names == ("unlabelled", "street", "sky", "car")
    with Image.open(out / "drawn.png") as drawn:
        assert drawn.height > 16


def test_bad_words_are_refused_before_any_work(tmp_path: Path, source: Path, data: list[str], capsys) -> None:
    base = ["transfer", "--source", str(source), *data, "-o", str(tmp_path / "new")]
    for more, said in (
        (["--affinity", "magic"], "affinity 'magic' is not known"),
        (["--learn", "half"], "--learn half is not known"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--source-pictures", str(tmp_path)], "give both or neither"),
        (["--affinity", "self-supervised"], "no affinity can be estimated"),
    ):
        assert run([*base, *more]) == 2, more
        assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_generator_draws_scenes_through_the_one_contract(source: Path) -> None:
    model = load(source)
    sky = Segment(np.repeat([1.0, 0.0], 8)[:, None].repeat(16, 1).astype(np.float32), "sky")
    scene = Scene("", (sky,), (16, 16))
    one, two = (api.generate(scene, model=model, guidance="none", seed=3, steps=n)[0].image for n in (1, 7))
    assert np.array_equal(np.asarray(one), np.asarray(two))
    alone = api.generate(scene, model=model, guidance="none", seed=3, count=2, together=True)[0].image
    assert np.array_equal(np.asarray(one), np.asarray(alone))
    other = api.generate(scene, model=model, guidance="none", seed=4)[0].image
    assert not np.array_equal(np.asarray(one), np.asarray(other))
    with pytest.raises(UserError, match="'sofa' is no class of this model; it draws sky, road, car"):
        api.generate(scene.restyle("sky", text="sofa"), model=model, guidance="none")
