"""People's poses: joints as coloured dots and limbs as darker lines, on black.

Decoding finds dots, so what it gives back is where joints are drawn, to about a pixel; a joint under a later dot, or
outside the picture, is lost, and people whose drawings touch come back as one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from scenewright.errors import UserError
from scenewright.maps.codec import as_floats, from_bytes
from scenewright.maps.palette import nearest, palette

# The seventeen of COCO.
JOINTS: tuple[str, ...] = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
LIMBS: tuple[tuple[str, str], ...] = (
    ("nose", "left_eye"), ("nose", "right_eye"), ("left_eye", "left_ear"), ("right_eye", "right_ear"),
    ("nose", "left_shoulder"), ("nose", "right_shoulder"), ("left_shoulder", "right_shoulder"),
    ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"), ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"), ("left_shoulder", "left_hip"), ("right_shoulder", "right_hip"),
    ("left_hip", "right_hip"), ("left_hip", "left_knee"), ("left_knee", "left_ankle"), ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
)  # fmt: skip
_COLOURS = palette(len(JOINTS) + 1)[1:]  # 17 of 27 colours, 127 apart; none is black
_LIMB = (64, 64, 64)  # on no point of that grid: a limb is never taken for a joint
Joints = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Pose:
    """One mapping from joint name to (x, y) in pixels for each person, drawn at `size` (height, width).

    `radius` of the dots, in pixels of a picture 128 high; it grows with the picture.
    """

    size: tuple[int, int]
    radius: float = 2.5

    def encode(self, values: Sequence[Joints]) -> np.ndarray:
        """People -> (H, W, 3); unknown joints raise UserError, joints outside the picture are not drawn."""
        height, width = self.size
        canvas = Image.new("RGB", (width, height))
        pen = ImageDraw.Draw(canvas)
        for person in values:
            _check(person)
            for start, end in LIMBS:
                if start in person and end in person:
                    pen.line([*person[start], *person[end]], _LIMB, max(1, round(self._radius)))
        for person in values:
            for joint, colour in zip(JOINTS, _COLOURS, strict=True):
                if joint in person:
                    x, y = person[joint]
                    r = self._radius
                    pen.ellipse([x - r, y - r, x + r, y + r], tuple(int(c) for c in colour))
        return from_bytes(np.asarray(canvas))

    def decode(self, picture: np.ndarray) -> list[dict[str, tuple[float, float]]]:
        """(H, W, 3) -> people, from left to right; of several dots of one colour in a drawing the largest counts."""
        pixels = (as_floats(picture) + 1) * 127.5
        known = np.concatenate([_COLOURS, [_LIMB], [(0, 0, 0)]])
        index, worst = nearest(pixels, known)
        index = np.where(worst < 64, index, len(JOINTS))  # what is neither is at least part of a drawing
        blobs, count = ndimage.label(index != len(known) - 1, np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues] - scipy's stubs
        people = [_joints(np.where(blobs == blob, index, -1)) for blob in range(1, count + 1)]
        return sorted(filter(None, people), key=lambda person: min(x for x, _ in person.values()))

    @property
    def _radius(self) -> float:
        return self.radius * self.size[0] / 128


def _joints(index: np.ndarray) -> dict[str, tuple[float, float]]:
    """Centre of the largest dot of each joint's colour, in the pixel frame in which a pixel's centre is at .5."""
    found = {}
    for number, joint in enumerate(JOINTS):
        dots, count = ndimage.label(index == number, np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues] - scipy's stubs
        if count:
            rows, columns = np.nonzero(dots == 1 + np.bincount(dots.ravel())[1:].argmax())
            found[joint] = (float(columns.mean()) + 0.5, float(rows.mean()) + 0.5)
    return found


def _check(person: Joints) -> None:
    for joint, at in person.items():
        if joint not in JOINTS:
            raise UserError(f"there is no joint {joint!r}; the joints are {', '.join(JOINTS)}")
        if len(at) != 2 or not np.isfinite(at).all():
            raise UserError(f"joint {joint!r} stands at {at}; give x and y in pixels")
