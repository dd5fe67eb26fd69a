"""Tables as pictures: FID against mIoU for methods, figures against what was varied for ablations."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from scenewright.errors import UserError

_FIGURES = ("miou", "fid", "clip")
Table = Sequence[Mapping[str, Any]]


def plot(table: Table) -> bytes:
    """A PNG of the table; raises UserError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("plots need matplotlib; install scenewright[eval], or leave the .png out.") from error
    ablated = "variant" in table[0]
    varied = list(dict.fromkeys(row["ablation"] for row in table)) if ablated else []
    figure = Figure(figsize=(12, 4 * len(varied)) if ablated else (12, 9), layout="constrained")
    if not ablated:
        _comparison(figure, table)
    for number, name in enumerate(varied):
        _ablation(figure, [row for row in table if row["ablation"] == name], number, len(varied))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _comparison(figure: Any, table: Table) -> None:
    """FID against mIoU above, the classes below."""
    above, below = figure.subplots(2, 1)
    _front(above, table)
    _classes(below, [row for row in table if row.get("per_class")])


def _classes(axes: Any, table: Table) -> None:
    """IoU of every class as bars, a bar per method: the classes that are easiest on average come first."""
    names = sorted({name for row in table for name in row["per_class"]}, key=lambda name: -_easy(table, name))
    width = 0.8 / max(1, len(table))
    for number, row in enumerate(table):
        places = [place - 0.4 + width * (number + 0.5) for place in range(len(names))]
        axes.bar(places, [row["per_class"].get(name, 0.0) for name in names], width, label=row["method"])
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right")
    axes.set(ylabel="IoU over conditioned pixels")
    if names:
        axes.legend(ncols=6, fontsize="small")


def _easy(table: Table, name: str) -> float:
    """The mean IoU of a class over methods."""
    return sum(row["per_class"].get(name, 0.0) for row in table) / len(table)


def _front(axes: Any, table: Table) -> None:
    """Every method as a point with its intervals; up and left is better."""
    for row in table:
        between = row["intervals"]
        spread = [[[abs(row[name] - end)] for end in between[name]] for name in ("fid", "miou")]
        axes.errorbar(row["fid"], row["miou"], xerr=spread[0], yerr=spread[1], fmt="o", capsize=3, label=row["method"])
        axes.annotate(row["method"], (row["fid"], row["miou"]), xytext=(5, 5), textcoords="offset points")
    axes.set(xlabel="FID (world-CLIP), lower is better", ylabel="mIoU of objects, higher is better")
    axes.set_title(f"{table[0]['setting']}, {table[0]['samples']} scenes, 95 % intervals")


def _ablation(figure: Any, table: Table, place: int, places: int) -> None:
    """The figures of one ablation, in row `place` of `places`."""
    labels = [str(row["variant"]) for row in table]
    for number, name in enumerate(_FIGURES, start=1):
        axes = figure.add_subplot(places, len(_FIGURES), place * len(_FIGURES) + number)
        values = [row[name] for row in table]
        ends = [row["intervals"][name] for row in table]
        spread = [[abs(value - end[side]) for value, end in zip(values, ends, strict=True)] for side in (0, 1)]
        axes.errorbar(range(len(labels)), values, yerr=spread, fmt="o-", capsize=3)
        axes.set_xticks(range(len(labels)), labels, rotation=30)
        axes.set(xlabel=table[0]["ablation"], ylabel=name)
