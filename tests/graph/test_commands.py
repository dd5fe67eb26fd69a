"""The words of the command line about factor graphs: a user's mistake is one sentence and exit code 2."""

import pytest

from scenewright.cli import run


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["compose", "a dog", "-o", "x", "--draws", "0"], "0 draws are not possible"),
        (["compose", "a dog", "-o", "x", "--seed", "-1"], "seed -1"),
        (["train", "factor", "colour"], "no variable 'colour'"),
        (["train", "factor", "depth", "--parents", "depth"], "cannot have"),
        (["train", "factor", "image"], "give --parents"),
        (["train", "factor", "depth", "--parents", "segmentation", "pose", "--scenes", "10"], "10 scenes"),
        (["train", "factor", "depth", "--steps", "-1"], "cannot be negative"),
    ],
)
def test_mistakes_are_one_sentence(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENEWRIGHT_CACHE", str(tmp_path))
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
