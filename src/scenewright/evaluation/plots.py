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
    figure = Figure(figsize=(12, 4) if ablated else (7, 5), layout="constrained")
    (_ablation if ablated else _front)(figure, table)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _front(figure: Any, table: Table) -> None:
    """Every method as a point with its intervals; up and left is better."""
    axes = figure.add_subplot()
    for row in table:
        between = row["intervals"]
        spread = [[[abs(row[name] - end)] for end in between[name]] for name in ("fid", "miou")]
        axes.errorbar(row["fid"], row["miou"], xerr=spread[0], yerr=spread[1], fmt="o", capsize=3, label=row["method"])
        axes.annotate(row["method"], (row["fid"], row["miou"]), xytext=(5, 5), textcoords="offset points")
    axes.set(xlabel="FID (world-CLIP), lower is better", ylabel="mIoU of objects, higher is better")
    axes.set_title(f"{table[0]['setting']}, {table[0]['samples']} scenes, 95 % intervals")


def _ablation(figure: Any, table: Table) -> None:
    labels = [str(row["variant"]) for row in table]
    for number, name in enumerate(_FIGURES, start=1):
        axes = figure.add_subplot(1, len(_FIGURES), number)
        values = [row[name] for row in table]
        ends = [row["intervals"][name] for row in table]
        spread = [[abs(value - end[side]) for value, end in zip(values, ends, strict=True)] for side in (0, 1)]
        axes.errorbar(range(len(labels)), values, yerr=spread, fmt="o-", capsize=3)
        axes.set_xticks(range(len(labels)), labels, rotation=30)
        axes.set(xlabel=table[0]["ablation"], ylabel=name)
