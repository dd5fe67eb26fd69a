"""`scenewright bench …` on a random model and the oracle's judges: what is printed, written and refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from truth import oracle_judges

from scenewright.bench import layout, scoring
from scenewright.bench.scoring import Judges
from scenewright.cli import run
from scenewright.guidance import USUAL


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Judges:
    return oracle_judges(monkeypatch)


@pytest.fixture(autouse=True)
def _oracle(oracle: Judges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring.Judges, "embedded", classmethod(lambda cls: oracle))


def words(text: str, **places: Any) -> list[str]:
    return [word.format(**places) for word in text.split()]


def test_layout(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.json"
    said = "bench layout --setting few --samples 2 --steps 2 --reference 3 --methods none,paint+zest --set zest.eta=0.1"
    assert run(words(said + " --model {model} --json {path}", model=tiny_folder, path=path)) == 0
    rows = json.loads(path.read_text())
    assert [row["method"] for row in rows] == ["none", "zest+paint"]
    assert rows[1]["parameters"]["zest.eta"] == "0.1"
    assert "zest.eta" not in rows[0]["parameters"]
    assert rows[0]["parameters"]["cfg.scale"] == rows[1]["parameters"]["cfg.scale"]
    required = {"method", "setting", "miou", "miou_full", "miou_stuff", "fid", "clip", "seconds", "samples", "seed"}
    assert all(required <= set(row) for row in rows)
    assert capsys.readouterr().out.splitlines()[0].split() == list(layout.COLUMNS)


def test_gallery(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words("bench gallery --scenes 1 --steps 1 --model {m} -o {o}", m=tiny_folder, o=tmp_path)) == 0
    assert (tmp_path / "gallery.png").exists()
    assert capsys.readouterr().out.count("mIoU") == len(USUAL)


def test_demo_is_the_gallery(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words("demo -o {out} --scenes 1 --model {model}", model=tiny_folder, out=tmp_path)) == 0
    assert (tmp_path / "gallery.png").exists()
    assert str(tmp_path / "gallery.png") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("bench layout --setting most", "few, filtered, all"),
        ("bench layout --methods magic", "magic"),
        ("bench layout --set zest", "name=value"),
        ("bench embedded --samples 1", "at least 8"),
        ("bench real --data {empty}", "--data"),
        ("bench gallery -o {empty} --scenes 0", "at least one"),
    ],
)
def test_mistakes_are_sentences(
    said: str, why: str, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words(said + " --model {model}", empty=tmp_path, model=tiny_folder)) == 2
    told = capsys.readouterr().err
    assert why in told
    assert "Traceback" not in told
