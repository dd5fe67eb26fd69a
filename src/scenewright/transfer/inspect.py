"""Looking at an affinity: the matrix as a picture, the top matches as text, everything as JSON."""

import io
from collections.abc import Sequence
from typing import Any

from scenewright.errors import UserError
from scenewright.transfer.affinity import Affinity


def plot(affinities: Sequence[Affinity]) -> bytes:
    """A PNG: one matrix per estimate, target classes as rows; a dot marks the choice, red names resemble nothing.

    Raises UserError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("plots need matplotlib; install scenewright[eval], or leave the plot out") from error
    rows, columns = len(affinities[0].target), len(affinities[0].source)
    figure = Figure(figsize=((2 + 0.14 * columns) * len(affinities), 2 + 0.16 * rows), layout="constrained")
    for axes, found in zip(figure.subplots(1, len(affinities), squeeze=False)[0], affinities, strict=True):
        axes.imshow(found.soft.T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        spoken = [t for t in range(rows) if found.choice[t] >= 0]
        axes.plot([found.choice[t] for t in spoken], spoken, ".", color="darkorange", markersize=3)
        axes.set_xticks(range(columns), found.source, rotation=90, fontsize=5)
        axes.set_yticks(range(rows), found.target, fontsize=6)
        for label, alone in zip(axes.get_yticklabels(), found.alone, strict=True):
            label.set_color("red" if alone else "black")
        axes.set_title(found.kind, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def table(affinity: Affinity, count: int = 3) -> str:
    """A line per target class: what it is drawn as, and its top matches with their shares."""
    width = max(map(len, affinity.target))
    lines = []
    for t in range(1, len(affinity.target)):
        chosen = affinity.source[affinity.choice[t]] if affinity.choice[t] >= 0 else "-"
        tops = ", ".join(f"{name} {share:.2f}" for name, share in affinity.top(t, count))
        mark = "  (resembles nothing)" if affinity.alone[t] else ""
        lines.append(f"{affinity.target[t].ljust(width)}  {chosen.ljust(14)}  {tops}{mark}")
    return "\n".join(lines)


def as_json(affinity: Affinity) -> dict[str, Any]:
    """The choice and top matches of every class, for affinity.json."""
    classes = {
        name: {
            "source": affinity.source[affinity.choice[t]] if affinity.choice[t] >= 0 else None,
            "top": [[other, round(share, 4)] for other, share in affinity.top(t)],
            "resembles_nothing": bool(affinity.alone[t]),
        }
        for t, name in enumerate(affinity.target)
        if t
    }
    return {"kind": affinity.kind, "classes": classes}
