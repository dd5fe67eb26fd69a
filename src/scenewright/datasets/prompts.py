"""Prompt sets: lists of captions that people published to check whether pictures obey them."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenewright.datasets.pictures import file_bytes
from scenewright.errors import UserError

_COLUMNS = ("prompt", "prompts", "synthetic_prompt", "meta_prompt", "caption", "text")
LONGEST = 2000  # characters of a prompt


@dataclass(frozen=True)
class Prompt:
    """A caption, and the objects that the set says it asks for; empty if it does not say."""

    text: str
    named: tuple[str, ...] = ()


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a file, in order.

    .txt: one a line (T2I-CompBench, CC-500). .csv and .tsv: a column called prompt, prompts, caption, text or
    synthetic_prompt, and obj1, obj2, ... for what is asked for (DrawBench, PartiPrompts, HRS). .jsonl: "prompt", and
    "include" with a "class" each (GenEval). .json: a list of prompts or of objects with one, or prompts with the list
    of what each asks for (DrawBench's labels). Raises UserError if it holds none or cannot be read.
    """
    try:
        text = file_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text; save it as UTF-8") from error
    readers = {".txt": _lines, ".csv": _table, ".tsv": _table, ".jsonl": _rows, ".json": _document}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path} is no list of prompts; give a {', '.join(readers)} file")
    found = [Prompt(" ".join(p.text.split()), p.named) for p in readers[path.suffix.lower()](text, path)]
    found = [prompt for prompt in found if prompt.text]
    if not found:
        raise UserError(f"{path} holds no prompt; name another file")
    for prompt in found:
        if len(prompt.text) > LONGEST:
            raise UserError(f"{path} has a prompt of {len(prompt.text)} characters; cut it to {LONGEST}")
    return found


def _lines(text: str, path: Path) -> Iterator[Prompt]:
    yield from map(Prompt, text.splitlines())


def _table(text: str, path: Path) -> Iterator[Prompt]:
    try:
        rows = list(csv.DictReader(io.StringIO(text), delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    except csv.Error as error:
        raise UserError(f"{path} is no table ({error}); correct it there") from error
    heads = {str(head).strip().lower(): head for head in (rows[0] if rows else ())}
    columns = [heads[name] for name in _COLUMNS if name in heads]
    if not columns:
        raise UserError(f"{path} has no column of prompts; call it one of {', '.join(_COLUMNS)}")
    asked = [head for name, head in heads.items() if name.startswith("obj") and name[3:].isdecimal()]
    for row in rows:
        text = next((row[column] for column in columns if row[column]), "")  # HRS leaves its first choice empty
        yield Prompt(text, tuple(row[head].strip() for head in asked if (row[head] or "").strip()))


def _rows(text: str, path: Path) -> Iterator[Prompt]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield _prompt(_parsed(line, f"{path} line {number}"), f"{path} line {number}")


def _document(text: str, path: Path) -> Iterator[Prompt]:
    data = _parsed(text, str(path))
    if isinstance(data, dict):
        data = [{"prompt": key, "include": [{"class": word} for word in _list(value)]} for key, value in data.items()]
    if not isinstance(data, list):
        raise UserError(f"{path} holds no list of prompts; name another file")
    yield from (_prompt(row, str(path)) for row in data)


def _prompt(row: Any, label: str) -> Prompt:
    if isinstance(row, str):
        return Prompt(row)
    words = [row[name] for name in _COLUMNS if isinstance(row.get(name), str)] if isinstance(row, Mapping) else []
    if not words:
        raise UserError(f"{label} has an entry without a prompt; call its text one of {', '.join(_COLUMNS)}")
    named = [part.get("class") for part in _list(row.get("include")) if isinstance(part, Mapping)]
    return Prompt(words[0], tuple(str(word) for word in named if word))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _parsed(text: str, label: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{label} is not valid JSON ({error}); correct it there") from error
