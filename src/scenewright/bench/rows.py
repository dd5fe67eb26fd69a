"""Result rows on disk: one JSON list, written whole after every row, so that a run can stop anywhere and go on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenewright.errors import UserError
from scenewright.files import write_atomically

Row = dict[str, Any]


@dataclass
class Rows:
    """The rows of a file. Rows with the same values of `keys` are one measurement: the later replaces the earlier."""

    path: Path | None
    keys: Sequence[str]
    rows: list[Row]

    @classmethod
    def at(cls, path: Path | None, keys: Sequence[str]) -> "Rows":
        """The rows at `path`, or none; without a path nothing is kept. Raises UserError for any other file."""
        if path is None or not path.exists():
            return cls(path, keys, [])
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is not a JSON file of results; name another file.") from error
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UserError(f"{path} holds no list of result rows; name another file.")
        return cls(path, keys, rows)

    def find(self, wanted: Mapping[str, Any]) -> Row | None:
        """The row that measured the same thing, if there is one."""
        return next((row for row in self.rows if all(row.get(key) == wanted.get(key) for key in self.keys)), None)

    def put(self, row: Row) -> Row:
        """Add a row and write the file; returns the row."""
        old = self.find(row)
        if old is None:
            self.rows.append(row)
        else:
            self.rows[self.rows.index(old)] = row
        if self.path is not None:
            write_json(self.path, self.rows)
        return row


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; numbers that are not finite become null, since JSON has none."""
    write_atomically(path, (json.dumps(finite(value), indent=1) + "\n").encode())


def finite(value: Any) -> Any:
    """The value with NaN and infinities replaced by None, and floats rounded to six significant digits."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if abs(value) < float("inf") else None
    return value


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as plain text in aligned columns; floats with four decimals."""
    cells = [list(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in cells)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
