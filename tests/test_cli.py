"""The command line: every mistake is one line on stderr and exit code 2, every command does what its help says."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenewright.cli import run
from scenewright.record import read_record
from scenewright.scene import Scene, Segment
from scenewright.scene_io import read_scene, write_scene


@pytest.fixture
def file(scene: Scene, tmp_path: Path) -> Path:
    return write_scene(scene, tmp_path / "car.json") or tmp_path / "car.json"


@pytest.fixture
def tiny(tiny_folder: Path) -> list[str]:
    return ["--model", str(tiny_folder), "--steps", "2"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail with code 2 and one line; return the line."""
    assert run([str(argument) for argument in arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("scenewright: ")
    return shown.err


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_generate_replay_show(file: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(["generate", str(file), "-o", str(out), "--guidance", "zest,paint", "--set", "zest.eta=0.5", *tiny]) == 0
    assert "1 pictures drawn" in capsys.readouterr().out
    record = read_record(out / "car_0.png")
    assert (record.guidance, record.parameters["zest.eta"]) == ("zest+paint", 0.5)
    for source in ("car_0.png", "car_0.json"):
        assert run(["replay", str(out / source), "-o", str(tmp_path / "again")]) == 0
        assert "every pixel matches" in capsys.readouterr().out
    for name in (file, out / "car_0.png", out / "car_0.json"):
        assert run(["show", str(name), "-o", str(tmp_path / "seen.png")]) == 0
        assert min(size_of(tmp_path / "seen.png")) > 300


def test_replay_says_when_pixels_differ(
    file: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["generate", str(file), "-o", str(tmp_path), "--guidance", "none", *tiny])
    record = read_record(tmp_path / "car_0.json")
    touched = record.model_copy(update={"pixels": "0" * 64, "versions": record.versions | {"torch": "1.0"}})
    (tmp_path / "car_0.json").write_text(touched.json_text())
    capsys.readouterr()
    assert run(["replay", str(tmp_path / "car_0.json"), "-o", str(tmp_path / "b.png"), "--json"]) == 1
    shown = capsys.readouterr()
    assert not json.loads(shown.out)["matched"]
    assert "torch was 1.0 then" in shown.err


def test_show_attention(file: Path, tiny: list[str], tmp_path: Path) -> None:
    run(["generate", str(file), "-o", str(tmp_path), "--guidance", "none", *tiny])
    assert run(["show", str(file), "-o", str(tmp_path / "a.png"), "--attention", *tiny]) == 0
    assert run(["show", str(tmp_path / "car_0.png"), "-o", str(tmp_path / "b.png"), "--attention"]) == 0
    assert size_of(tmp_path / "a.png") == size_of(tmp_path / "b.png")


def test_generate_answers_machines_and_counts_failures(
    file: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file.parent / "broken.json").write_text("{")
    arguments = ["generate", str(file.parent), "-o", str(tmp_path / "out"), "--json", "--count", "2", "--batch", *tiny]
    assert run(arguments) == 1
    summary = json.loads(capsys.readouterr().out)
    assert (summary["pictures"], summary["skipped"], len(summary["failed"])) == (2, 0, 1)
    assert run(arguments) == 1
    assert json.loads(capsys.readouterr().out)["skipped"] == 2


def test_lint_finds_and_fixes(
    scene: Scene, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speck = np.zeros(scene.size, np.float32)
    speck[0, 0] = 1
    write_scene(scene.add(Segment(speck, "unheard-of zeppelin")), tmp_path / "s.json")
    model = tiny[:2]
    run(["lint", str(tmp_path / "s.json"), "--json", *model])
    found = json.loads(capsys.readouterr().out)["findings"]
    assert found
    assert all(row["mend"] for row in found)
    run(["lint", str(tmp_path / "s.json"), "--fix", "-o", str(tmp_path / "mended"), *model])
    assert "mended" in capsys.readouterr().out
    assert "zeppelin" in read_scene(tmp_path / "mended" / "s.json").caption


def test_lint_goes_on_after_an_unreadable_scene(
    file: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (file.parent / "broken.json").write_text("{")
    assert run(["lint", str(file), str(file.parent / "broken.json"), "--json", *tiny[:2]]) == 1
    assert [row["scene"] for row in json.loads(capsys.readouterr().out)["failed"]] == ["broken"]


def test_models_lists_and_prints_cards(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--json"]) == 0
    assert "models" in json.loads(capsys.readouterr().out)
    assert run(["models", str(tiny_folder), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["guidance"]
    assert len(row["sha256"]) == 64
    assert run(["models", str(tiny_folder)]) == 0
    assert "text to image" in capsys.readouterr().out


def test_embedded_models_show_their_card_and_figures(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "models" / "small")
    (tmp_path / "models" / "small" / "README.md").write_text("# Small\nA card.\n")
    (tmp_path / "models" / "small" / "scores.json").write_text('{"recall": 0.5}')
    monkeypatch.setattr("scenewright.commands.models.FOLDER", tmp_path / "models")
    assert run(["models"]) == 0
    shown = capsys.readouterr().out
    assert "small: text to image" in shown
    assert "recall 0.5" in shown
    assert "zest+paint" in shown
    assert run(["models", "small"]) == 0
    assert capsys.readouterr().out == "# Small\nA card.\n"
    assert "did you mean 'small'" in refused(capsys, "models", "smal")


def test_mistyped_words(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin = ["generate", file, "-o", tmp_path / "out"]
    assert "did you mean 'zest'" in refused(capsys, *begin, "--guidance", "zset")
    assert "did you mean 'zest.eta'" in refused(capsys, *begin, "--set", "zest.etta=1")
    assert "zest.eta=0.5" in refused(capsys, *begin, "--set", "eta")
    assert "did you mean 'embedded'" in refused(capsys, *begin, "--model", "embeded")
    assert "Did you mean" in refused(capsys, *begin, "--gidance", "zest")
    assert "abc" in refused(capsys, *begin, "--steps", "abc")
    assert "euler" in refused(capsys, *begin, "--solver", "heun")
    assert "did you mean 'models'" in refused(capsys, "modles")
    assert "no model" in refused(capsys, "models", "nonsense")
    assert "no scene" in refused(capsys, "generate", "-o", tmp_path / "out")
    assert "-o" in refused(capsys, "lint", file, "--fix")
    assert ".png" in refused(capsys, "show", file, "-o", tmp_path / "a.jpg")
    assert not (tmp_path / "out").exists()


def test_files_that_are_not_there_or_not_what_they_should_be(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    assert "does not exist" in refused(capsys, "generate", tmp_path / "none.json", "-o", tmp_path / "out")
    assert "no record" in refused(capsys, "replay", tmp_path / "plain.png", "-o", tmp_path / "out")
    refused(capsys, "show", tmp_path / "none.json", "-o", tmp_path / "a.png")
    refused(capsys, "replay", file, "-o", tmp_path / "out")


def test_place_that_cannot_be_written(
    file: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "blocked").write_text("a file, not a folder")
    assert "cannot write" in refused(capsys, "generate", file, "-o", tmp_path / "blocked", *tiny)
    assert "cannot write" in refused(capsys, "show", file, "-o", tmp_path / "blocked" / "a.png")


def test_caption_past_the_token_limit(
    scene: Scene, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = Scene("a dog " * 40, scene.segments, scene.size)
    write_scene(long, tmp_path / "long.json")
    run(["generate", str(tmp_path / "long.json"), "-o", str(tmp_path / "out"), "--guidance", "zest", *tiny])
    assert "token" in capsys.readouterr().err


def test_truncated_weights_and_pickles(
    file: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(tiny_folder, cut)
    weights = next((cut / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert str(cut) in refused(capsys, "generate", file, "-o", tmp_path / "out", "--model", cut)

    pickled = tmp_path / "pickled"
    shutil.copytree(tiny_folder, pickled)
    weights = next((pickled / "unet").glob("*.safetensors"))
    weights.unlink()
    marker = tmp_path / "ran"
    payload = type("Payload", (), {"__reduce__": lambda self: (os.system, (f"touch {marker}",))})()
    (pickled / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(payload))
    assert "safetensors" in refused(capsys, "generate", file, "-o", tmp_path / "out", "--model", pickled)
    (tmp_path / "m.ckpt").write_bytes(pickle.dumps(payload))
    assert "pickle" in refused(capsys, "generate", file, "-o", tmp_path / "out", "--model", tmp_path / "m.ckpt")
    assert not marker.exists()


def test_ctrl_c_leaves_whole_pictures_and_the_run_resumes(file: Path, tiny: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["generate", str(file), "-o", str(out), "--guidance", "none", "--count", "1000", *tiny]
    command = [sys.executable, "-m", "scenewright.cli", *arguments]
    # A job that a shell put in the background ignores Ctrl-C, and so would what it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 120
    while len(list(out.glob("*.png"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "resume" in said
    drawn = sorted(out.glob("*.png"))
    assert 3 <= len(drawn) < 1000
    assert all(read_record(path).pixels for path in drawn)
    assert not list(out.glob(".*"))
    stamps = {path: path.stat().st_mtime_ns for path in drawn}
    assert run([*arguments[:-5], str(len(drawn) + 2), *tiny]) == 0
    assert len(list(out.glob("*.png"))) == len(drawn) + 2
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
