"""`scenewright bench gallery`: held-out scenes by every method on one sheet, with the mean IoU of each column."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scenewright.bench.drawing import Told, draw, silent
from scenewright.bench.layout import held_out_scenes
from scenewright.bench.rows import write_json
from scenewright.bench.scoring import Judges, layout_score
from scenewright.denoiser import Model
from scenewright.display import INK, PAPER, layout, png_bytes, stacked
from scenewright.errors import UserError
from scenewright.files import write_atomically
from scenewright.scene import Scene

COLUMNS = {
    "none": "No guidance",
    "paint": "Paint-with-Words",
    "multidiffusion": "MultiDiffusion",
    "zest": "ZestGuide",
    "zest+paint": "ZestGuide + Paint-with-Words",
}
CELL, GAP, LINE = 224, 6, 20


def make(
    model: Model,
    judges: Judges,
    out: Path,
    scenes: int = 8,
    setting: str = "few",
    steps: int = 30,
    seed: int = 0,
    told: Told = silent,
) -> dict[str, float]:
    """Write gallery.png, gallery.json and every picture into `out`; return the mean IoU of objects per method."""
    if scenes < 1:
        raise UserError(f"scenes is {scenes}; ask for at least one.")
    layouts = held_out_scenes(setting, scenes, "test", told)[1]
    pictures = {method: draw(model, layouts, method, steps=steps, seed=seed, told=told)[0] for method in COLUMNS}
    miou = {method: layout_score(layouts, judges.segment(images)).miou for method, images in pictures.items()}
    for number, scene in enumerate(layouts):
        _save(labelled(scene), out / f"{number:02d}_layout.png")
        for method, images in pictures.items():
            _save(Image.fromarray(images[number]), out / f"{number:02d}_{method}.png")
    _save(sheet(layouts, pictures, miou), out / "gallery.png")
    write_json(out / "gallery.json", {"setting": setting, "scenes": scenes, "steps": steps, "seed": seed, "miou": miou})
    return miou


def sheet(scenes: Sequence[Scene], pictures: Mapping[str, np.ndarray], miou: Mapping[str, float]) -> Image.Image:
    """One row per scene under its caption: the layout, then every method; column heads carry the mean IoU."""
    heads = ["Layout", *(COLUMNS[method] for method in pictures)]
    rows = [_texts(heads, 13), _texts(["", *(f"mIoU {miou[method]:.2f}" for method in pictures)], 13)]
    for number, scene in enumerate(scenes):
        rows.append(_texts([scene.caption], 14, columns=len(heads)))
        rows.append(_row([labelled(scene), *(Image.fromarray(images[number]) for images in pictures.values())]))
    return stacked(rows)


def labelled(scene: Scene) -> Image.Image:
    """The layout, enlarged to a cell, with each segment's words at its middle."""
    image = layout(scene).resize((CELL, CELL), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(13)
    for segment in scene.segments:
        if not segment.mask.any():
            continue
        y, x = (float(np.average(axis, weights=segment.mask)) for axis in np.indices(segment.mask.shape))
        half = pen.textlength(segment.text, font) / 2
        left = min(max(x / scene.size[1] * CELL, half + 2), max(CELL - half - 2, half + 2))
        pen.text(
            (left, y / scene.size[0] * CELL), segment.text, INK, font, anchor="mm", stroke_width=2, stroke_fill=PAPER
        )
    return image


def _row(images: Sequence[Image.Image]) -> Image.Image:
    row = Image.new("RGB", (len(images) * (CELL + GAP), CELL + GAP), PAPER)
    for i, image in enumerate(images):
        row.paste(image.convert("RGB").resize((CELL, CELL), Image.Resampling.BICUBIC), (i * (CELL + GAP), 0))
    return row


def _texts(texts: Sequence[str], size: int, columns: int | None = None) -> Image.Image:
    strip = Image.new("RGB", ((columns or len(texts)) * (CELL + GAP), LINE), PAPER)
    pen = ImageDraw.Draw(strip)
    for i, text in enumerate(texts):
        pen.text((i * (CELL + GAP) + 2, 2), text, INK, ImageFont.load_default(size))
    return strip


def _save(image: Image.Image, path: Path) -> None:
    write_atomically(path, png_bytes(image))
