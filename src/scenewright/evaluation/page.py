"""An evaluation as one HTML page: the table, then pictures side by side, worst first."""

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scenewright.bench.gallery import labelled
from scenewright.display import png_bytes
from scenewright.evaluation.run import Run
from scenewright.evaluation.table import COLUMNS, shown
from scenewright.files import write_atomically
from scenewright.metrics.layout import Overlaps, mean_iou

SHOWN = 60  # cases on a page
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff; }
table { border-collapse: collapse; margin-bottom: 2rem; } td, th { padding: .25rem .6rem; text-align: right; }
th { border-bottom: 1px solid #888; } td:first-child, th:first-child { text-align: left; }
small { color: #666; } section { margin: 1.5rem 0; } h2 { font-size: 1rem; margin: 0 0 .4rem; }
.row { display: flex; flex-wrap: wrap; gap: .5rem; } figure { margin: 0; width: 168px; }
img { width: 168px; height: 168px; object-fit: contain; image-rendering: auto; } figcaption { font-size: .8rem; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818; } small { color: #999; } }
"""


def page(run: Run, table: Sequence[Mapping[str, Any]], folder: Path) -> str:
    """The page; pictures are linked from `folder`, where it will lie. Layouts are drawn beside the scenes."""
    methods = [str(row["method"]) for row in table]
    scores = {method: adherence(run, method) for method in methods}
    guided = [scores[method] for method in methods if method not in ("none", "renders")] or list(scores.values())
    order = np.argsort(np.nan_to_num(np.mean(guided, axis=0), nan=2.0), kind="stable")[:SHOWN]
    sections = "\n".join(_section(run, int(number), scores, folder) for number in order)
    title = f"{run.plan.data}, protocol {run.plan.protocol}, {len(run.cases)} scenes"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f"<style>{_STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n{_table(table)}\n{sections}\n"
        "</body></html>\n"
    )


def adherence(run: Run, method: str) -> np.ndarray:
    """(N,) mean IoU of the asked-for classes in each picture of a method, over conditioned pixels."""
    rows = np.concatenate([batch.judged.layout.inside.rows for batch in run.batches(method)])
    return np.array([mean_iou(Overlaps.from_rows(row[None]).iou(), range(row.shape[-1])) for row in rows])


def _table(table: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    body = "\n".join("<tr>" + "".join(_cell(row, name) for name in COLUMNS) + "</tr>" for row in table)
    return f"<table><tr>{head}</tr>\n{body}</table>"


def _cell(row: Mapping[str, Any], name: str) -> str:
    between = row.get("intervals", {}).get(name)
    spread = f"<br><small>{shown(between[0], name)} to {shown(between[1], name)}</small>" if between else ""
    return f"<td>{html.escape(shown(row.get(name), name))}{spread}</td>"


def _section(run: Run, number: int, scores: Mapping[str, np.ndarray], folder: Path) -> str:
    scene = run.cases[number].scene
    layout = run.folder / "scenes" / f"{number:06d}.png"
    if not layout.exists():
        write_atomically(layout, png_bytes(labelled(scene)))
    figures = [_figure(layout, "layout", folder)]
    for method, values in scores.items():
        value = "" if np.isnan(values[number]) else f" {values[number]:.2f}"
        figures.append(_figure(run.picture(method, number), method + value, folder))
    words = ", ".join(segment.text for segment in scene.segments)
    return (
        f"<section><h2>{html.escape(scene.caption)} <small>({html.escape(words)})</small></h2>\n"
        f'<div class="row">{"".join(figures)}</div></section>'
    )


def _figure(picture: Path, caption: str, folder: Path) -> str:
    source = Path(os.path.relpath(picture, folder)).as_posix()
    told = html.escape(caption)
    return (
        f'<figure><img src="{html.escape(source)}" alt="{told}" loading="lazy"><figcaption>{told}</figcaption></figure>'
    )
