"""The table of an evaluation: a row per method, in JSON, Markdown, CSV and LaTeX."""

import csv
import io
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from scenewright.bench.rows import Row
from scenewright.bench.scoring import Judged
from scenewright.evaluation.plan import column, identity
from scenewright.evaluation.run import Run
from scenewright.metrics.intervals import interval
from scenewright.metrics.manifold import precision_recall
from scenewright.metrics.quality import Gaussian, kid

COLUMNS = (
    "method", "setting", "miou", "miou_full", "miou_stuff", "object_recall", "fid", "kid", "precision", "recall",
    "clip", "seconds", "samples", "seed",
)  # fmt: skip
BETTER = {"fid": -1, "kid": -1, "seconds": -1, **dict.fromkeys(COLUMNS[2:6], 1), "precision": 1, "recall": 1, "clip": 1}


def rows(run: Run, methods: Sequence[str]) -> list[Row]:
    """A row per method; raises UserError if one is not finished."""
    return [row_of(run, method) for method in methods]


def row_of(run: Run, method: str) -> Row:
    """All figures of one method. `precision` and `recall` are those of Kynkaanniemi et al. among world-CLIP features,
    `object_recall` the share of the kinds that the scenes name that their pictures show.
    """
    batches = list(run.batches(method))
    judged = reduce(lambda a, b: a.merged(b), (batch.judged for batch in batches))
    objects = np.concatenate([batch.objects for batch in batches])
    counts = [len(batch.judged) for batch in batches]
    figures = judged.figures(Gaussian.of(run.reference))
    intervals = figures.pop("intervals")
    intervals["object_recall"] = interval(lambda pictures: _share(objects[pictures]), len(objects))
    precision, recall = precision_recall(run.reference, judged.features) if len(judged) > 3 else (float("nan"),) * 2
    name, _, parameters = column(run.plan, run.model, method)
    own = identity(run.plan, run.model, run.judges)
    return {
        "method": name,
        "setting": run.plan.protocol,
        **figures,
        "object_recall": _share(objects),
        "kid": kid(run.reference, judged.features),
        "precision": precision,
        "recall": recall,
        "seconds": float(np.average([batch.seconds for batch in batches], weights=counts)),
        "intervals": intervals,
        **own,
        "samples": len(judged),
        "parameters": parameters,
        "per_class": _per_class(run, judged),
    }


def _per_class(run: Run, judged: Judged) -> dict[str, float]:
    """IoU of each class of object that was asked for, over conditioned pixels: what `miou` is the mean of."""
    iou, labels = judged.layout.inside.iou(), run.judges.labels
    return {labels.names[index]: round(float(iou[index]), 4) for index in labels.objects if np.isfinite(iou[index])}


def _share(objects: np.ndarray) -> float:
    """The share of named objects that were found, of (N, 2) counts."""
    named, shown = objects.sum(0)
    return float(shown / named) if named else float("nan")


def text_of(table: Sequence[Mapping[str, Any]], form: str, columns: Sequence[str] = COLUMNS) -> str:
    """The table as "md", "csv" or "tex". The best figure of a column is bold in md and tex; renders do not compete."""
    if form == "csv":
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerows([columns, *([_plain(row.get(name)) for name in columns] for row in table)])
        return out.getvalue()
    bold, line, head = _STYLES[form]
    best = {name: _best(table, name) for name in columns}
    lines = [line([_named(name, form) for name in columns]), *head(len(columns))]
    for row in table:
        cells = [shown(row.get(name), name) for name in columns]
        cells = [
            bold(cell)
            if best[name] is not None and row.get(name) == best[name] and row["method"] != "renders"
            else cell
            for name, cell in zip(columns, cells, strict=True)
        ]
        lines.append(line([_named(cell, form) for cell in cells]))
    if form == "tex":
        lines = [f"\\begin{{tabular}}{{{'l' * 2}{'r' * (len(columns) - 2)}}}", "\\toprule", *lines]
        lines += ["\\bottomrule", "\\end{tabular}"]
    return "\n".join(lines) + "\n"


_STYLES: dict[str, Any] = {
    "md": (
        lambda cell: f"**{cell}**",
        lambda cells: f"| {' | '.join(cells)} |",
        lambda count: [f"|{' --- |' * count}"],
    ),
    "tex": (
        lambda cell: f"\\textbf{{{cell}}}",
        lambda cells: f"{' & '.join(cells)} \\\\",
        lambda count: ["\\midrule"],
    ),
}


def _best(table: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [row[name] for row in table if row["method"] != "renders" and isinstance(row.get(name), float)]
    values = [value for value in values if np.isfinite(value)]
    return max(values, key=lambda value: BETTER[name] * value) if name in BETTER and len(values) > 1 else None


def _named(text: str, form: str) -> str:
    return text.replace("_", "\\_") if form == "tex" else text


def _plain(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and not np.isfinite(value)) else value


def shown(value: Any, name: str) -> str:
    """A figure as a reader wants it."""
    if isinstance(value, float) and np.isfinite(value):
        return f"{value:.2f}" if name in ("fid", "clip", "seconds") else f"{value:.3f}"
    return "-" if value is None or isinstance(value, float) else str(value)
