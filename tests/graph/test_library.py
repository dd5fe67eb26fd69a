"""Trained factors on disk, the graph that they make up, and what `scenewright compose` does with them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scenewright import compose as composing
from scenewright.backends.adapters import fresh
from scenewright.errors import UserError
from scenewright.graph.library import choices, open_factor, open_graph
from scenewright.maps import Segmentation
from scenewright.search import Dropping
from scenewright.world import CLASSES


def write_factor(folder: Path, model: Any, variable: str, *maps: str) -> None:
    """An untrained factor as `scenewright train factor` packages it."""
    name = f"{variable}-from-{'-'.join(maps)}" if maps else variable
    for part in ([] if variable == "image" else ["own"]) + list(maps):
        net = fresh(model.pipeline.unet)
        torch.nn.init.normal_(net.skip.weight, 0, 0.1)
        net.half().save_pretrained(folder / name / part)
    facts = {"variable": variable, "parents": ["caption", *maps], "backbone": dict(model.identity())}
    (folder / name / "factor.json").write_text(json.dumps(facts))


@pytest.fixture(scope="module")
def library(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("factors")
    for parts in (("segmentation",), ("depth",), ("depth", "segmentation"), ("image", "segmentation", "depth")):
        write_factor(folder, tiny_model, *parts)
    return folder


def test_factors_that_heed_most_are_chosen(library):
    found = choices(library, ("segmentation", "depth"))
    assert {name: path.name for name, path in found.items()} == {
        "segmentation": "segmentation",
        "depth": "depth-from-segmentation",
        "image": "image-from-segmentation-depth",
    }
    alone = choices(library, ("depth",))
    assert {name: path.name for name, path in alone.items()} == {"depth": "depth"}


def test_a_graph_is_opened_from_its_folder(library, tiny_model):
    graph = open_graph(library, ("segmentation", "depth"), tiny_model, steps=3)
    assert [factor.variable for factor in graph.order] == ["segmentation", "depth", "image"]
    assert {factor.steps for factor in graph.factors} == {3}
    assert isinstance(graph["segmentation"].codec, Segmentation)


def test_what_is_not_there_is_said(library, tiny_model, tiny_pipeline, tmp_path):
    from scenewright.backends import load

    with pytest.raises(UserError, match="no factor of 'pose'"):
        open_graph(library, ("pose",), tiny_model)
    with pytest.raises(UserError, match="no map 'colour'"):
        open_graph(library, ("colour",), tiny_model)
    with pytest.raises(UserError, match="name at least one, each once"):
        open_graph(library, ("depth", "depth"), tiny_model)
    with pytest.raises(UserError, match="is no factor"):
        open_factor(tmp_path, tiny_model)
    pipe = tiny_pipeline()
    torch.nn.init.zeros_(pipe.unet.conv_out.weight)
    with pytest.raises(UserError, match="trained beside other weights"):
        open_factor(library / "depth", load(pipe))  # type: ignore[arg-type]


def test_a_caption_becomes_maps_and_a_picture(library, tiny_model, tmp_path):
    told = []
    outcome = composing.compose(
        "a dog and a red car in front of the sky",
        tiny_model,
        library,
        ("segmentation", "depth"),
        seeds=range(4),
        steps=2,
        dropping=Dropping(0.5, 0.5),
        progress=lambda name, done, of: told.append(name),
    )
    assert outcome.objects == ("dog", "car")
    assert (len(outcome.draws), len(outcome.best.seeds)) == (2, 4)
    assert set(outcome.maps) == {"segmentation", "depth"}
    assert outcome.picture.shape == (32, 32, 3)
    assert set(told) == {"depth", "image"}
    composing.write(outcome, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "draws.png",
        "segmentation.png",
        "depth.png",
        "picture.png",
        "compose.json",
    }
    facts = json.loads((tmp_path / "compose.json").read_text())
    assert facts["recall"].count(None) == 2
    assert facts["seed"] == outcome.seed


def test_without_a_picture_factor_the_map_places_segments(library, tiny_model):
    outcome = composing.compose("a dog on grass", tiny_model, library, seeds=[3], steps=1)
    assert set(outcome.maps) == {"segmentation"}
    assert outcome.picture.shape == (32, 32, 3)
    with pytest.raises(UserError, match="put segmentation first"):
        composing.compose("a dog", tiny_model, library, ("depth",))
    with pytest.raises(UserError, match="no known object"):
        composing.compose("happiness", tiny_model, library)


def test_a_map_becomes_a_scene_in_the_captions_words():
    labels = np.full((8, 8), CLASSES.index("sky"))
    labels[4:], labels[2:6, 2:6], labels[7, 7] = CLASSES.index("grass"), CLASSES.index("car"), 0
    scene = composing.scene_of("a red car under a clear sky", Segmentation(CLASSES), labels)
    assert [(s.text, s.stuff) for s in scene.segments] == [("clear sky", True), ("grass", True), ("red car", False)]
    assert scene.segments[2].area == 16 / 64
