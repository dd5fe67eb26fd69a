"""Result files: whole after every row, never a row twice, only what JSON can hold."""

import json
from pathlib import Path

import pytest

from scenewright.bench.rows import Rows, finite, table, write_json
from scenewright.errors import UserError


def test_rows_are_kept_found_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.json"
    rows = Rows.at(path, ("method", "seed"))
    assert rows.find({"method": "none", "seed": 0}) is None
    rows.put({"method": "none", "seed": 0, "miou": 0.25})
    rows.put({"method": "zest", "seed": 0, "miou": float("nan")})
    rows.put({"method": "none", "seed": 0, "miou": 0.5})
    assert json.loads(path.read_text()) == [
        {"method": "none", "seed": 0, "miou": 0.5},
        {"method": "zest", "seed": 0, "miou": None},
    ]
    again = Rows.at(path, ("method", "seed"))
    assert again.find({"method": "none", "seed": 0, "extra": 1}) == {"method": "none", "seed": 0, "miou": 0.5}
    assert again.find({"method": "none", "seed": 1}) is None
    assert [entry.name for entry in path.parent.iterdir()] == ["rows.json"]


@pytest.mark.parametrize("text", ["{}", "[1]", "nonsense", "\udcff"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match="name another file"):
        Rows.at(path, ())


def test_without_a_path_nothing_is_written() -> None:
    rows = Rows.at(None, ("method",))
    rows.put({"method": "none"})
    assert rows.find({"method": "none"})


def test_finite_numbers_only(tmp_path: Path) -> None:
    value = {"a": float("inf"), "b": [1, float("nan"), 1 / 3], "c": {"d": "text", "e": None, "f": True}}
    assert finite(value) == {"a": None, "b": [1, None, 0.333333], "c": {"d": "text", "e": None, "f": True}}
    write_json(tmp_path / "x.json", value)
    assert json.loads((tmp_path / "x.json").read_text()) == finite(value)


def test_table_is_aligned() -> None:
    text = table([{"method": "zest", "miou": 0.5}, {"method": "none", "miou": None}], ("method", "miou"))
    assert text.splitlines() == ["method    miou", "  zest  0.5000", "  none       -"]
