"""Evaluations: protocols choose as they say, runs resume and are shared to the identical table, reports read well."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from truth import oracle_judges

from scenewright.bench.rows import finite
from scenewright.bench.scoring import Judges
from scenewright.errors import UserError
from scenewright.evaluation import run as running
from scenewright.evaluation.ablations import ABLATIONS, ablate, variants
from scenewright.evaluation.page import adherence, page
from scenewright.evaluation.plan import RENDERS, Plan
from scenewright.evaluation.plots import plot
from scenewright.evaluation.protocols import by_words, cases, chosen, save_cases, saved_cases
from scenewright.evaluation.run import Batch, Run
from scenewright.evaluation.table import rows, text_of
from scenewright.guidance import build
from scenewright.scene import Scene, Segment
from scenewright.scene_io import write_scene

METHODS = ("none", "zest", RENDERS)


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Judges:
    return oracle_judges(monkeypatch)


def small(**changes: Any) -> Plan:
    settings: dict[str, Any] = {"samples": 5, "steps": 2, "batch": 2, "reference": 6}
    return Plan(**(settings | changes))


def block(*box: int) -> np.ndarray:
    mask = np.zeros((20, 20), np.float32)
    mask[box[0] : box[1], box[2] : box[3]] = 1
    return mask


def street() -> Scene:
    segments = (
        Segment(block(10, 20, 0, 20), "road", stuff=True),
        Segment(block(0, 4, 0, 4), "dog"),
        Segment(block(12, 18, 2, 8), "dog"),
        Segment(block(5, 9, 10, 14), "cat"),  # 4 % of the picture
        Segment(block(0, 2, 0, 2), ""),
    )
    return Scene("a dog and a dog on a road", segments, (20, 20))


def untimed(table: list[dict]) -> list[dict]:
    return [{name: value for name, value in finite(row).items() if name != "seconds"} for row in table]


def test_segments_of_the_same_words_are_one_and_only_what_is_seen_counts() -> None:
    merged = by_words(street())
    assert [segment.text for segment in merged.segments] == ["road", "dog", "cat"]
    assert merged.segments[1].mask.sum() == 16 - 4 + 36  # the nameless corner covers four pixels
    assert merged.segments[0].mask.sum() == 200 - 36


def test_protocols_choose_as_they_say() -> None:
    scene = street()
    assert [s.text for s in chosen(scene, "all", 0).segments] == ["road", "dog", "cat"]
    assert [s.text for s in chosen(scene, "filtered", 0).segments] == ["road", "dog"]
    few = [tuple(s.text for s in chosen(scene, "few", seed).segments) for seed in range(60)]
    assert set(few) == {("road",), ("dog",), ("road", "dog")}
    share = np.mean([len(texts) == 2 for texts in few])
    assert 0.3 < share < 0.7  # one or two with the same chance
    assert few[:5] == [tuple(s.text for s in chosen(scene, "few", seed).segments) for seed in range(5)]
    with pytest.raises(UserError, match="protocol 'some' is not known"):
        chosen(scene, "some", 0)


def test_cases_of_a_folder_and_back(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        write_scene(street(), tmp_path / "in" / f"{name}.json")
    write_scene(Scene("nothing", (), (20, 20)), tmp_path / "in" / "0.json")
    found = cases(str(tmp_path / "in"), "filtered", 2)
    assert [case.scene.name for case in found] == ["a", "b"]
    assert found[0].named == ("road", "dog", "cat")
    save_cases(found, tmp_path / "out")
    for case, again in zip(found, saved_cases(tmp_path / "out") or (), strict=True):
        assert (case.named, case.scene.caption) == (again.named, again.scene.caption)
        for one, other in zip(case.scene.segments, again.scene.segments, strict=True):
            assert one.text == other.text
            assert np.array_equal(one.mask, other.mask)
    assert saved_cases(tmp_path) is None
    write_scene(Scene("nothing", (), (20, 20)), tmp_path / "bare" / "0.json")
    with pytest.raises(UserError, match="no scene with a segment"):
        cases(str(tmp_path / "bare"), "all", 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "most"}, "protocol 'most'"),
        ({"split": "train"}, "split 'train'"),
        ({"samples": 1}, "samples is 1; it must be at least 2"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_bad_plans_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        small(**changes)


def test_killed_shared_and_whole_runs_give_the_identical_table(
    tiny_model: Any, oracle: Judges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Run(tmp_path / "whole", small(), tiny_model, oracle)
    whole.work(METHODS)
    table = untimed(rows(whole, METHODS))
    assert [row["method"] for row in table] == list(METHODS)
    assert table[2]["miou"] == table[2]["object_recall"] == 1
    assert all(low <= row["miou"] <= high for row in table for low, high in [row["intervals"]["miou"]])
    assert all(np.mean([*row["per_class"].values()]) == pytest.approx(row["miou"], abs=1e-3) for row in table)

    killed = Run(tmp_path / "killed", small(), tiny_model, oracle)
    drawn: list[int] = []

    def stopping(*arguments: Any, **named: Any) -> Any:
        drawn.append(1)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return original(*arguments, **named)

    original = running.draw
    monkeypatch.setattr(running, "draw", stopping)
    with pytest.raises(KeyboardInterrupt):
        killed.work(METHODS)
    monkeypatch.setattr(running, "draw", original)
    with pytest.raises(UserError, match="none is not finished"):
        rows(killed, METHODS)
    again = Run(tmp_path / "killed", small(), tiny_model, oracle)
    assert len(again.missing(METHODS)) == 7
    again.work(METHODS)
    assert untimed(rows(again, METHODS)) == table

    shared = [Run(tmp_path / "shared", small(), tiny_model, oracle) for _ in range(2)]
    for index, run in enumerate(shared):
        run.work(METHODS, (index, 2))
    assert untimed(rows(shared[0], METHODS)) == table


def test_nothing_is_drawn_twice(tiny_model: Any, oracle: Judges, tmp_path: Path, monkeypatch: Any) -> None:
    run = Run(tmp_path, small(), tiny_model, oracle)
    run.work(METHODS)
    monkeypatch.setattr(running, "draw", None)
    monkeypatch.setattr(running, "cases", None)
    Run(tmp_path, small(), tiny_model, oracle).work(METHODS)


def test_another_plan_in_the_folder_is_refused(tiny_model: Any, oracle: Judges, tmp_path: Path) -> None:
    Run(tmp_path, small(), tiny_model, oracle)
    with pytest.raises(UserError, match="holds an evaluation with steps 2, not 3"):
        Run(tmp_path, small(steps=3), tiny_model, oracle)


def test_parameters_have_columns_of_their_own(tiny_model: Any, oracle: Judges, tmp_path: Path) -> None:
    runs = [Run(tmp_path, small(parameters=p), tiny_model, oracle) for p in ({}, {"zest.eta": 2.0})]
    for run in runs:
        run.work(["zest"])
    one, other = (rows(run, ["zest"])[0] for run in runs)
    assert other["parameters"] == one["parameters"] | {"zest.eta": 2.0}
    assert len(list(tmp_path.glob("zest-*"))) == 2


def test_a_broken_part_is_named(tiny_model: Any, oracle: Judges, tmp_path: Path) -> None:
    run = Run(tmp_path, small(), tiny_model, oracle)
    run.work([RENDERS])
    part = tmp_path / RENDERS / "000002.npz"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(UserError, match="000002.npz is no whole part"):
        rows(run, [RENDERS])


def test_batches_come_back_as_they_were(tiny_model: Any, oracle: Judges, tmp_path: Path) -> None:
    run = Run(tmp_path, small(), tiny_model, oracle)
    run.work([RENDERS])
    (first, *_) = run.batches(RENDERS)
    first.save(tmp_path / "copy.npz")
    again = Batch.load(tmp_path / "copy.npz", oracle.labels)
    assert np.array_equal(again.judged.layout.inside.rows, first.judged.layout.inside.rows)
    assert np.array_equal(again.judged.features, first.judged.features)
    assert np.isnan(again.seconds)


def test_shards_that_do_not_exist_are_refused(tiny_model: Any, oracle: Judges, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shard 2 of 2"):
        Run(tmp_path, small(), tiny_model, oracle).work(["none"], (2, 2))


TABLE = [
    {"method": "none", "setting": "few", "miou": 0.25, "fid": 7.0, "seconds": 0.5, "samples": 4},
    {"method": "zest", "setting": "few", "miou": 0.5, "fid": 8.125, "seconds": 1.0, "samples": 4},
    {"method": RENDERS, "setting": "few", "miou": 1.0, "fid": 4.0, "seconds": float("nan"), "samples": 4},
]


def test_the_best_of_each_column_is_bold_and_renders_do_not_compete() -> None:
    assert text_of(TABLE[2:], "md", ("method", "seconds", "kid")).splitlines()[-1] == "| renders | - | - |"
    columns = ("method", "miou", "fid", "samples")
    assert text_of(TABLE, "md", columns).splitlines() == [
        "| method | miou | fid | samples |",
        "| --- | --- | --- | --- |",
        "| none | 0.250 | **7.00** | 4 |",
        "| zest | **0.500** | 8.12 | 4 |",
        "| renders | 1.000 | 4.00 | 4 |",
    ]
    latex = text_of(TABLE, "tex", ("method", "miou_full", "fid"))
    assert "\\textbf{7.00}" in latex
    assert "miou\\_full" in latex
    assert latex.count("&") == 2 * 4
    assert text_of(TABLE, "csv", ("method", "seconds")) == "method,seconds\nnone,0.5\nzest,1.0\nrenders,\n"


def test_the_page_shows_every_picture_worst_first(tiny_model: Any, oracle: Judges, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", small(), tiny_model, oracle)
    run.work(METHODS)
    text = page(run, rows(run, METHODS), tmp_path)
    values = adherence(run, "zest")
    places = [text.index(f'src="{run.picture("zest", i).relative_to(tmp_path).as_posix()}"') for i in range(5)]
    assert np.argsort(places).tolist() == np.argsort(values, kind="stable").tolist()
    for name in ("run/scenes/000000.png", "run/renders/000004.png"):
        assert f'src="{name}"' in text
        assert (tmp_path / name).exists()
    assert (adherence(run, RENDERS) == 1).all()


def test_the_command_writes_its_reports_and_resumes(
    tiny_model: Any, oracle: Judges, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    from scenewright import backends, cli

    monkeypatch.setattr(backends, "load", lambda *arguments, **named: tiny_model)
    monkeypatch.setattr(Judges, "embedded", classmethod(lambda cls: oracle))
    words = ["eval", "-o", str(tmp_path / "run"), "--methods", "none,renders", "--samples", "4", "--steps", "2"]
    words += ["--reference", "6", "--json", str(tmp_path / "rows.json"), "--batch", "2"]
    words += ["--report", str(tmp_path / "table.md"), "--report", str(tmp_path / "page.html")]
    words += ["--report", str(tmp_path / "plot.png")]
    assert cli.run([*words, "--shard", "0/2"]) == 0
    assert "parts are left" in capsys.readouterr().out
    assert cli.run([*words, "--shard", "1/2"]) == 0
    assert capsys.readouterr().out == (tmp_path / "table.md").read_text()
    assert [row["method"] for row in json.loads((tmp_path / "rows.json").read_text())] == ["none", RENDERS]
    assert "<table>" in (tmp_path / "page.html").read_text()
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.width > 400
    for wrong, message in (
        (["--shard", "2/2"], "shard '2/2'"),
        (["--report", "table.pdf"], "no form that fits"),
        (["--ablate", "layers"], "page.html is for methods"),
        (["--seed", "1"], "holds an evaluation with seed 0, not 1"),
    ):
        assert cli.run([*words, *wrong]) == 2
        assert message in capsys.readouterr().err
    assert cli.run(["eval", "-o", str(tmp_path / "new"), "--ablate", "colour"]) == 2
    assert "ablation 'colour' is not known" in capsys.readouterr().err


def test_ablations_vary_one_choice(tiny_model: Any, oracle: Judges, tmp_path: Path) -> None:
    labels = {name: [v.label for v in variants(name, tiny_model)] for name in ABLATIONS}
    assert labels["layers"] == ["all", "decoder", "encoder", "res4", "res8", "res4+8"]
    assert labels["granularity"] == ["head", "layer", "global"]
    for name in ABLATIONS:
        for variant in variants(name, tiny_model):
            replace(small(), parameters=variant.parameters, **variant.plan)
            build("zest", **variant.parameters)
    done = ablate("granularity", tmp_path, small(), tiny_model, oracle, (0, 1), lambda text: None) or []
    assert [row["parameters"]["zest.granularity"] for row in done] == labels["granularity"]
    assert {row["parameters"]["zest.eta"] for row in done} == {done[0]["parameters"]["zest.eta"]}
    assert [row["published_miou"] for row in done] == [0.321, 0.427, 0.433]
    assert [v.published and v.published["miou"] for v in variants("layers", tiny_model)] == [
        0.4017, 0.4002, 0.3824, 0.4027, 0.3949, 0.4334,
    ]  # fmt: skip
    assert plot(done)[:4] == b"\x89PNG"
    assert ablate("seeds", tmp_path / "s", small(), tiny_model, oracle, (0, 2), lambda text: None) is None
    seeds = ablate("seeds", tmp_path / "s", small(), tiny_model, oracle, (1, 2), lambda text: None) or []
    assert [row["seed"] for row in seeds] == [0, 1_000_000, 2_000_000]
    assert len({row["clip"] for row in seeds} | {row["fid"] for row in seeds}) > 2
