"""Pictures and label pictures of a few-shot set: found, paired, checked and brought to one size."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scenewright.datasets.label_sets import LABEL_SETS, LabelSet
from scenewright.datasets.pictures import colours, file_bytes, label_values
from scenewright.errors import UserError

UNLABELLED = "unlabelled"
FEWEST = 2  # one picture to learn from, one to hold out
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_VOID = ("void", "unlabelled", "unlabeled", "ignore", "ignored", "none")
_NUMBERED = re.compile(r"^(\d+)\s*[:,;\s]\s*(\S.*)$")
# What the label pictures of published sets are called, by their stem; the first that fits all of them.
_STEMS = {
    "cityscapes": r".*_labelIds",
    "cityscapes-train": r".*_labelTrainIds",
    "ade20k": r"ADE_(train|val)_\d{8}",
    "coco-stuff": r"\d{12}",
    "camvid": r"(\d{4}\w\w|Seq\d\dVD)_f?\d{5,6}(_L)?",
}
_ENDINGS = re.compile(r"_(gtFine_|gtCoarse_)?(labelIds|labelTrainIds|leftImg8bit|color)$|_L$")


@dataclass(frozen=True, eq=False)
class LabelledPictures:
    """`images` (N, H, W, 3) uint8, `labels` (N, H, W) uint8 or uint16 class ids into `names`, whose first is
    "unlabelled"; `values` is the label pictures' own value of each of the other classes.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    void: tuple[int, ...]
    stems: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, index: list[int]) -> "LabelledPictures":
        """Some of the pictures."""
        stems = tuple(self.stems[i] for i in index)
        return LabelledPictures(self.names, self.values, self.void, stems, self.images[index], self.labels[index])

    def split(self, share: float = 0.15) -> tuple["LabelledPictures", "LabelledPictures"]:
        """To learn from, and to hold out: the last ones by name, since frames of one film are neighbours."""
        held = min(len(self) - 1, max(1, round(share * len(self))))
        order = list(np.argsort(np.array(self.stems), kind="stable"))
        return self.rows(order[:-held]), self.rows(order[-held:])


Names = str | Path | LabelSet | None


def read_pairs(pictures: Path, labels: Path, names: Names, size: tuple[int, int]) -> LabelledPictures:
    """The set of two folders at `size` (height, width) pixels; both are squeezed to it, labels by nearest pixel.

    `names` is a names file (see `read_names`), a label set's name (camvid, ade20k, cityscapes, cityscapes-train,
    coco-stuff), a label set, or None to recognise one by its file names. Raises UserError for whatever is wrong.
    """
    files = _files(labels)
    known = label_set(names, files, labels)
    if known.pattern != "*.png":  # Cityscapes keeps other pictures beside its labels
        files = [path for path in files if path.match(known.pattern)] or files
    pairs = _paired(_files(pictures), files, pictures, labels)
    values = sorted(set(known.names) - known.void)
    table = {value: index for index, value in enumerate(values, start=1)} | dict.fromkeys(known.void, 0)
    kind = np.uint8 if len(values) < 256 else np.uint16
    images, maps = [], []
    for picture, label in pairs:
        colour, raw = colours(picture).astype(np.uint8), label_values(label)
        if colour.shape[:2] != raw.shape:
            raise UserError(f"{picture} and {label} differ in size; give the labels of the same picture")
        ids = np.array([_class_id(int(v), table, label, known) for v in np.unique(raw)], kind)
        found = ids[np.searchsorted(np.unique(raw), raw)]
        images.append(_resized(colour, size, Image.Resampling.BICUBIC))
        maps.append(_resized(found, size, Image.Resampling.NEAREST))
    stacked = np.stack(maps)
    if not stacked.any():
        raise UserError(f"every pixel of the labels in {labels} is void; give labels that name classes")
    spelled = (UNLABELLED, *(known.names[value] for value in values))
    return LabelledPictures(
        spelled, tuple(values), tuple(known.void), tuple(p.stem for p, _ in pairs), np.stack(images), stacked
    )


def label_set(names: Names, files: list[Path], folder: Path) -> LabelSet:
    """The label set that a name, a names file or the files themselves say; raises UserError if none does."""
    if isinstance(names, LabelSet):
        return names
    if names is not None and str(names) in LABEL_SETS:
        return LABEL_SETS[str(names)]
    if names is not None:
        return read_names(Path(names))
    for name, pattern in _STEMS.items():
        among = any if name.startswith("cityscapes") else all  # it keeps other pictures beside its labels
        if among(re.fullmatch(pattern, path.stem) for path in files):
            return LABEL_SETS[name]
    raise UserError(
        f"the label set of {folder} is not recognised; give a names file, or one of {', '.join(LABEL_SETS)}, as --names"
    )


def read_names(path: Path) -> LabelSet:
    """Names of label values: text with a name a line (the first is value 0) or "value name" lines; or JSON, a list or
    an object of value to name. Values 255 and those called void, unlabelled or ignore mean nothing.

    Raises UserError if it holds no names, a name twice or a value twice.
    """
    text = file_bytes(path).decode("utf-8", "replace")
    rows = _json_rows(text, path) if path.suffix.lower() == ".json" else _text_rows(text)
    rows = [(value, " ".join(name.split())) for value, name in rows if name.strip()]
    void = frozenset({255, *(value for value, name in rows if name.lower() in _VOID)})
    kept = [(value, name) for value, name in rows if value not in void]
    if not kept:
        raise UserError(f"{path} names no class; write one name a line")
    parts: dict[str, list[Any]] = {"name": [name.lower() for _, name in kept], "value": [value for value, _ in rows]}
    for what, part in parts.items():
        twice = next((item for item in part if part.count(item) > 1), None)
        if twice is not None:
            raise UserError(f"{path} holds the {what} '{twice}' twice; give every class its own")
    return LabelSet(path.name, dict(kept), frozenset(), void)


def _text_rows(text: str) -> list[tuple[int, str]]:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    numbered = [_NUMBERED.match(line) for line in lines]
    if lines and all(numbered):
        return [(int(match[1]), match[2]) for match in numbered if match]
    return list(enumerate(lines))


def _json_rows(text: str, path: Path) -> list[tuple[int, str]]:
    try:
        data = json.loads(text)
        if isinstance(data, dict) and isinstance(data.get("classes"), list):
            data = data["classes"]
        rows = data.items() if isinstance(data, dict) else enumerate(data)
        return [(int(value), str(name)) for value, name in rows]
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is no JSON list of names, or object of value to name; correct it") from error


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name the folder of the pictures and that of their labels")
    found = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in _PICTURES and not p.name.startswith(".")]
    if not found:
        raise UserError(f"{folder} holds no picture ({', '.join(_PICTURES)}); name another folder")
    return found


def _paired(pictures: list[Path], labels: list[Path], folder: Path, label_folder: Path) -> list[tuple[Path, Path]]:
    """Pictures and labels of one name, apart from what data sets add to it."""
    ours, theirs = ({_ENDINGS.sub("", p.stem): p for p in files} for files in (pictures, labels))
    for names, files, where in ((ours, pictures, folder), (theirs, labels, label_folder)):
        if len(names) < len(files):
            raise UserError(f"{where} holds several files of one name; keep one file a picture")
    lonely = sorted(ours.keys() ^ theirs.keys())
    if lonely:
        missing, path = ("label", ours[lonely[0]]) if lonely[0] in ours else ("picture", theirs[lonely[0]])
        raise UserError(
            f"{path} has no {missing} of its name ({len(lonely)} files have no partner); add or remove them"
        )
    if len(ours) < FEWEST:
        raise UserError(f"{folder} holds {len(ours)} picture; at least {FEWEST} are needed, 25 or more to learn well")
    return [(ours[name], theirs[name]) for name in sorted(ours)]


def _class_id(value: int, table: dict[int, int], path: Path, known: LabelSet) -> int:
    if value not in table:
        span = f"{min(known.names)} to {max(known.names)}"
        raise UserError(f"{path} holds the value {value}, which {known.title} does not name (it names {span}); add it")
    return table[value]


def _resized(array: np.ndarray, size: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    if array.shape[:2] == size:
        return array
    image = Image.fromarray(array if array.dtype == np.uint8 else array.astype(np.int32))
    return np.asarray(image.resize((size[1], size[0]), how)).astype(array.dtype)
