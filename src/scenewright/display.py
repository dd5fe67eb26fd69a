"""Pictures of scenes: layout over picture with a legend, side by side, contact sheets. Needs no model."""

import colorsys
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scenewright.scene import Scene

INK, PAPER, MARGIN, LINE = (30, 30, 30), (255, 255, 255), 8, 18
SMALLEST_SIDE = 384  # layouts of toy models are 128 pixels: enlarge them, or the legend dwarfs them


def colours(count: int) -> list[tuple[int, int, int]]:
    """`count` RGB colours, neighbours far apart in hue (steps of the golden ratio)."""
    turns = [(0.61803398875 * i) % 1.0 for i in range(count)]
    wheel = [colorsys.hsv_to_rgb(hue, 0.55 + 0.35 * (i % 2), 0.95 - 0.2 * (i % 3 == 2)) for i, hue in enumerate(turns)]
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in wheel]


def enlarged(image: Image.Image, smallest: int = SMALLEST_SIDE) -> Image.Image:
    """The picture, a whole number of times larger, so that its shorter side is about `smallest` pixels or more."""
    factor = max(1, round(smallest / max(1, min(image.size))))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def layout(scene: Scene, image: Image.Image | None = None, opacity: float = 0.6) -> Image.Image:
    """The scene's regions in colour, front ones on top, over `image` (resized to the scene) or over pale grey.

    Borders are drawn solid so that touching regions of one colour can be told apart.
    """
    height, width = scene.size
    if image is None:
        canvas, opacity = np.full((height, width, 3), 225.0), 1.0
    else:
        canvas = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC), np.float64)
    borders = np.zeros((height, width), bool)
    for segment, colour in zip(scene.segments, colours(len(scene.segments)), strict=True):
        cover = segment.mask[..., None] * opacity
        canvas = canvas * (1 - cover) + np.asarray(colour, float) * cover
        inside = segment.mask > 0.5
        borders[inside] = False
        borders |= inside & ~_eroded(inside)
    canvas[borders] *= 0.45
    return Image.fromarray(canvas.round().clip(0, 255).astype(np.uint8))


def _eroded(inside: np.ndarray) -> np.ndarray:
    """The pixels of a bool (H, W) region all of whose four neighbours in the picture are in it too."""
    padded = np.pad(inside, 1, mode="edge")
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & inside


def legend(scene: Scene, width: int) -> Image.Image:
    """Caption, then one line per segment: its colour, its words, its share of the picture."""
    font = ImageFont.load_default(13)
    caption = _wrapped(scene.caption or "(no caption)", font, width - 2 * MARGIN)
    height = 2 * MARGIN + LINE * (len(caption) + len(scene.segments))
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    y = MARGIN
    for line in caption:
        draw.text((MARGIN, y), line, INK, font)
        y += LINE
    for segment, colour in zip(scene.segments, colours(len(scene.segments)), strict=True):
        draw.rectangle((MARGIN, y + 2, MARGIN + 12, y + 14), fill=colour, outline=INK)
        words = _clipped(f"{segment.text or '(no words)'}  {segment.area:.1%}", font, width - 3 * MARGIN - 14)
        draw.text((MARGIN + 20, y), words, INK, font)
        y += LINE
    return sheet


def _printable(text: str) -> str:
    """One line without control characters: what a font can draw."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _wrapped(text: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", width: int, most: int = 4) -> list[str]:
    lines = [""]
    for word in _printable(text).split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    if len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return [_clipped(line, font, width) for line in lines]


def _clipped(text: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", width: int) -> str:
    text = _printable(text)[:400]
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def overlay(scene: Scene, image: Image.Image | None = None) -> Image.Image:
    """Layout (over the picture, if one is given) with its legend below."""
    shown = enlarged(layout(scene, image, opacity=0.45))
    return stacked([shown, legend(scene, shown.width)])


def side_by_side(image: Image.Image, scene: Scene) -> Image.Image:
    """Picture, layout, and layout over picture in a row; the legend below."""
    plain = enlarged(layout(scene))
    panels = [image.convert("RGB").resize(plain.size, Image.Resampling.BICUBIC), plain]
    panels.append(enlarged(layout(scene, image, opacity=0.45)))
    row = contact_sheet(panels, columns=3)
    return stacked([row, legend(scene, row.width)])


def stacked(images: Sequence[Image.Image]) -> Image.Image:
    """Pictures one above the other, aligned left."""
    sheet = Image.new("RGB", (max(i.width for i in images), sum(i.height for i in images)), PAPER)
    y = 0
    for image in images:
        sheet.paste(image, (0, y))
        y += image.height
    return sheet


def contact_sheet(images: Sequence[Image.Image], titles: Sequence[str] = (), columns: int = 6) -> Image.Image:
    """Pictures of one size in a grid, row by row, each under its title if `titles` are given."""
    font = ImageFont.load_default(13)
    width, height = images[0].size
    head = LINE + 2 if titles else 0
    columns = max(1, min(columns, len(images)))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (width + 4) - 4, rows * (height + head + 4) - 4), PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, image in enumerate(images):
        x, y = (i % columns) * (width + 4), (i // columns) * (height + head + 4)
        if titles:
            draw.text((x + 2, y + 2), _clipped(titles[i], font, width - 4), INK, font)
        sheet.paste(image.resize((width, height), Image.Resampling.BICUBIC), (x, y + head))
    return sheet


def heat(values: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """A map (H, W) of any range as a picture of `size` (width, height): dark is least, bright is most."""
    low, high = float(values.min()), float(values.max())
    scaled = (np.asarray(values, np.float64) - low) / max(high - low, 1e-12)
    ramp = np.stack([scaled**0.7, scaled**1.6, 0.35 * (1 - scaled) * scaled + scaled**4 * 0.6], -1)
    return Image.fromarray((255 * ramp).round().clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)


def png_bytes(image: Image.Image) -> bytes:
    """The picture as PNG: what Jupyter and files take."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def attention_sheet(scene: Scene, maps: np.ndarray, phases: Sequence[str] = ("early", "midway", "late")) -> Image.Image:
    """Where each segment's phrase attends: one row per segment, its mask, then the mean map of each phase of the run.

    `maps` is (steps, K, rows, columns), K the number of the scene's segments; each map is stretched to its own range.
    """
    names = [segment.text or "(no words)" for segment in scene.segments]
    size = (160, max(1, round(160 * scene.size[0] / scene.size[1])))
    tiles, titles = [], []
    for k, segment in enumerate(scene.segments):
        tiles.append(heat(np.asarray(segment.mask), size))
        titles.append(names[k])
        for phase, part in zip(phases, np.array_split(maps[:, k], len(phases)), strict=True):
            tiles.append(heat(part.mean(0, dtype=np.float64) if len(part) else np.zeros(maps.shape[-2:]), size))
            titles.append(phase)
    return contact_sheet(tiles, titles, columns=1 + len(phases))
