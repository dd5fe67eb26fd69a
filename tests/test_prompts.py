"""Prompt sets: the published forms, real files, and broken ones."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenewright.datasets.prompts import Prompt, read_prompts
from scenewright.errors import UserError
from scenewright.evaluation.protocols import cases

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "prompts"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "a red  car\n\n a dog \n", [Prompt("a red car"), Prompt("a dog")]),
        ("a.csv", "Prompts,Category\nA red car.,Colors\n", [Prompt("A red car.")]),
        ("a.tsv", "Prompt\tCategory\nA dog, a cat\tx\n", [Prompt("A dog, a cat")]),
        (
            "a.csv",
            "meta_prompt,obj1,obj2,synthetic_prompt\nx,car,,a car\na car and a dog,car,dog,\n",
            [Prompt("a car", ("car",)), Prompt("a car and a dog", ("car", "dog"))],
        ),
        (
            "a.jsonl",
            '{"include": [{"class": "car", "count": 1}, {"class": "dog"}], "prompt": "a car, a dog"}',
            [Prompt("a car, a dog", ("car", "dog"))],
        ),
        ("a.json", '{"Two cars.": ["car", "car"]}', [Prompt("Two cars.", ("car", "car"))]),
        ("a.json", '["a dog", {"caption": "a cat"}]', [Prompt("a dog"), Prompt("a cat")]),
    ],
)
def test_published_forms(name: str, text: str, expected: list[Prompt], tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert read_prompts(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", " \n", "holds no prompt"),
        ("a.csv", "Category\nColors\n", "no column of prompts"),
        ("a.csv", "", "no column of prompts"),
        ("a.jsonl", "{", "line 1 is not valid JSON"),
        ("a.jsonl", '{"tag": 1}', "line 1 has an entry without a prompt"),
        ("a.json", "3", "holds no list of prompts"),
        ("a.json", "[3]", "an entry without a prompt"),
        ("a.pkl", "x", "is no list of prompts"),
        ("a.txt", "x" * 2001, "a prompt of 2001 characters"),
    ],
)
def test_broken_files_are_named(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_prompts(tmp_path / name)


@given(st.binary(max_size=200), st.sampled_from([".txt", ".csv", ".tsv", ".json", ".jsonl"]))
def test_any_bytes_are_prompts_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("prompts") / f"a{suffix}"
    path.write_bytes(data)
    try:
        found = read_prompts(path)
    except UserError as error:
        said = str(error)
        assert str(path) in said
    else:
        assert all(prompt.text for prompt in found)


def test_real_files() -> None:
    if not DATA.exists():
        pytest.skip("the prompt sets are not on this machine")
    files = [p for p in DATA.rglob("*") if p.suffix in (".txt", ".csv", ".json") and p.name != "SOURCE.txt"]
    counts = {path.name: len(read_prompts(path)) for path in files}
    assert counts["drawbench.csv"] == 200
    assert counts["color_val.txt"] == 300
    hrs = read_prompts(DATA / "hrs" / "synthetic_color_comp_prompts.csv")
    assert all(2 <= len(prompt.named) <= 4 for prompt in hrs)


def test_an_evaluation_draws_prompts_from_captions_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a giraffe next to a traffic light\na dog\n")
    (first, second) = cases(f"prompts:{tmp_path / 'a.txt'}", "captions", 5)
    assert first.scene.segments == ()
    assert {"giraffe", "traffic light"} <= set(first.named)
    assert second.scene.caption == "a dog"
    with pytest.raises(UserError, match="use --protocol captions"):
        cases(f"prompts:{tmp_path / 'a.txt'}", "few", 5)
    world = cases("world", "captions", 3)
    assert [len(case.scene.segments) for case in world] == [0, 0, 0]
    assert all(case.named for case in world)
