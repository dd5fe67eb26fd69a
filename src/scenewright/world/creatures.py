"""Animals and people. One parametric quadruped gives eight kinds, from cat to elephant."""

from dataclasses import dataclass

import numpy as np

from .sketch import DARK, HAIR, SKIN, TROUSERS, Colour, Sketch


@dataclass(frozen=True)
class Body:
    """Proportions of one quadruped (object units)."""

    length: float = 0.34
    girth: float = 0.17
    legs: float = 0.32
    leg: float = 0.05
    neck: tuple[float, float] = (0.14, 0.18)
    head: float = 0.12
    snout: float = 0.10
    tail: float = 0.25


BODIES: dict[str, Body] = {
    "cat": Body(0.30, 0.15, 0.22, 0.045, (0.05, 0.12), 0.16, 0.05, 0.42),
    "dog": Body(0.32, 0.155, 0.30, 0.05, (0.08, 0.17), 0.135, 0.14, 0.26),
    "horse": Body(0.36, 0.17, 0.42, 0.045, (0.18, 0.30), 0.10, 0.20, 0.36),
    "cow": Body(0.40, 0.21, 0.30, 0.06, (0.12, 0.08), 0.13, 0.15, 0.30),
    "sheep": Body(0.34, 0.24, 0.24, 0.045, (0.10, 0.06), 0.12, 0.09, 0.08),
    "zebra": Body(0.35, 0.18, 0.38, 0.045, (0.16, 0.26), 0.10, 0.18, 0.28),
    "giraffe": Body(0.27, 0.15, 0.52, 0.042, (0.20, 0.62), 0.09, 0.14, 0.22),
    "elephant": Body(0.42, 0.31, 0.30, 0.10, (0.14, 0.06), 0.21, 0.0, 0.22),
}
_COATS: dict[str, tuple[Colour, str]] = {
    "zebra": ((0.94, 0.94, 0.92), "stripes"),
    "giraffe": ((0.93, 0.72, 0.33), "spots"),
    "elephant": ((0.50, 0.50, 0.54), ""),
}


def quadruped(s: Sketch, kind: str) -> None:
    body = BODIES[kind]
    coat, pattern = _COATS.get(kind, (s.main, "patches" if kind == "cow" else "wool" if kind == "sheep" else ""))
    face = coat if kind != "sheep" else (0.16, 0.14, 0.14) if sum(coat) > 1.5 else (0.85, 0.80, 0.74)
    limb = face if kind == "sheep" else coat
    top = body.legs + body.girth * 0.75
    s.ball((0, top, 0), (body.length, body.girth, body.girth * 0.8), coat, pattern=pattern)
    stride = 0.06 * (s.rng.random() - 0.5)
    for x, swing in ((body.length * 0.68, stride), (-body.length * 0.68, -stride)):
        for z, lean in ((body.girth * 0.45, 1), (-body.girth * 0.45, -1)):
            s.limb(
                (x, top - 0.04, z),
                (x + swing * lean, 0, z),
                body.leg * 1.15,
                limb,
                body.leg * 0.8,
                pattern=pattern if kind == "zebra" else "",
            )
    shoulder = np.array([body.length * 0.72, top + body.girth * 0.25, 0])
    head = shoulder + (body.neck[0], body.neck[1], 0)
    s.limb(shoulder - (0.04, 0.05, 0), head, body.girth * 0.62, coat, body.head * 0.66, pattern=pattern)
    _head(s, kind, body, head, face, pattern if kind in ("zebra",) else "")
    rump = np.array([-body.length * 0.93, top + body.girth * 0.2, 0])
    lift = body.tail * (0.9 if kind == "cat" else -0.85)
    s.limb(rump, rump + (-0.35 * body.tail, lift, 0), 0.028, HAIR if kind in ("horse", "zebra") else coat, 0.016)


def _head(s: Sketch, kind: str, body: Body, at: np.ndarray, rgb: Colour, pattern: str) -> None:
    h = body.head
    s.ball(at, (h * 1.1, h, h * 0.85), rgb, pattern=pattern)
    if body.snout:
        tip = at + (h * 0.7 + body.snout, -body.snout * 0.45, 0)
        s.limb(at + (h * 0.3, 0, 0), tip, h * 0.62, rgb if kind != "cow" else (0.86, 0.66, 0.60), h * 0.42)
        s.ball(tip, h * 0.42, DARK if kind in ("cat", "dog") else rgb)
    for side in (-1, 1):
        s.ball(at + (h * 0.72, h * 0.35, side * h * 0.55), h * 0.17, DARK)
        if kind == "elephant":
            s.ball(at + (-h * 0.35, 0.0, side * h * 1.05), (h * 0.75, h * 0.95, h * 0.16), (0.56, 0.53, 0.56))
            s.limb(
                at + (h * 0.8, -h * 0.5, side * h * 0.45),
                at + (h * 1.6, -h * 0.95, side * h * 0.5),
                0.035,
                (0.96, 0.94, 0.86),
                0.01,
            )
        elif kind == "cat":
            s.limb(at + (0, h * 0.6, side * h * 0.5), at + (0, h * 1.55, side * h * 0.62), h * 0.36, rgb, 0.0)
        elif kind in ("cow", "giraffe"):
            s.limb(
                at + (-h * 0.1, h * 0.7, side * h * 0.4),
                at + (0.02, h * 1.6, side * h * (0.8 if kind == "cow" else 0.4)),
                h * 0.17,
                (0.9, 0.86, 0.74),
                h * 0.08,
            )
            s.ball(at + (-h * 0.3, h * 0.35, side * h * 1.0), (h * 0.2, h * 0.22, h * 0.42), rgb)
        else:
            droop = -0.25 if kind in ("dog", "sheep") else 1.0
            s.ball(at + (-h * 0.2, h * (0.45 + 0.55 * droop), side * h * 0.72), (h * 0.26, h * 0.5, h * 0.16), rgb)
    if kind == "elephant":
        knee = at + (h * 1.25, -h * 0.9, 0)
        s.limb(at + (h * 0.7, -h * 0.1, 0), knee, h * 0.38, rgb, h * 0.26)
        s.limb(knee, knee + (h * 0.12, -h * 1.3, 0), h * 0.26, rgb, h * 0.17)
    if kind in ("horse", "zebra"):
        s.limb(
            at + (-h * 0.5, h * 0.9, 0),
            at + (-body.neck[0] * 1.15, -body.neck[1] * 0.7, 0),
            h * 0.4,
            HAIR if kind == "horse" else DARK,
            h * 0.3,
        )


def person(s: Sketch, _: str) -> None:
    hips, neck = 0.50, 0.82
    for side in (-1, 1):
        foot = (0.05 * side * s.rng.random(), 0.03, side * 0.085)
        s.limb((0, hips, side * 0.06), foot, 0.062, TROUSERS, 0.05)
        s.ball((foot[0] + 0.03, 0.03, foot[2]), (0.075, 0.035, 0.045), DARK)
        angle = (-1.25, 0.15, 1.15)[int(s.rng.integers(3))]
        reach = np.array([0.0, np.sin(angle), side * np.cos(angle)])
        shoulder = np.array([0, neck - 0.05, side * 0.12])
        elbow, hand = shoulder + 0.16 * reach + (0.02, 0, 0), shoulder + 0.31 * reach + (0.05, 0, 0)
        s.limb(shoulder, elbow, 0.05, s.main, 0.045)
        s.limb(elbow, hand, 0.04, SKIN, 0.034)
        s.ball(hand, 0.042, SKIN)
        name = "left" if side > 0 else "right"
        joints = {
            "shoulder": shoulder,
            "elbow": elbow,
            "wrist": hand,
            "hip": np.array([0, hips, side * 0.06]),
            "knee": (np.array([0, hips, side * 0.06]) + foot) / 2,
            "ankle": np.asarray(foot),
        }
        s.keypoints |= {f"{name}_{joint}": np.asarray(at, float) for joint, at in joints.items()}
        s.ball((0.095, 0.955, side * 0.035), 0.016, DARK)
        s.keypoints[f"{name}_eye"] = np.array([0.095, 0.955, side * 0.035])
        s.keypoints[f"{name}_ear"] = np.array([0, 0.94, side * 0.1])
    s.limb((0, hips - 0.03, 0), (0, neck, 0), 0.125, s.main, 0.115)
    s.ball((0, neck, 0), (0.09, 0.055, 0.14), s.main)
    s.ball((0, 0.93, 0), (0.1, 0.115, 0.1), SKIN)
    s.ball((-0.022, 0.965, 0), (0.105, 0.105, 0.108), HAIR)
    s.keypoints["nose"] = np.array([0.105, 0.93, 0])


def bird(s: Sketch, _: str) -> None:
    for z in (-0.07, 0.07):
        s.limb((0, 0.3, z), (0.03, 0, z), 0.025, (0.95, 0.6, 0.1))
    s.ball((0, 0.46, 0), (0.34, 0.23, 0.21), s.main, tilt=0.35)
    s.ball((0.27, 0.74, 0), 0.16, s.main)
    s.limb((0.38, 0.73, 0), (0.58, 0.68, 0), 0.07, (0.98, 0.62, 0.08), 0.0)
    s.limb((-0.26, 0.38, 0), (-0.62, 0.26, 0), 0.10, s.main, 0.05)
    for z in (-1, 1):
        s.ball((-0.06, 0.5, z * 0.19), (0.24, 0.14, 0.06), tuple(0.7 * c for c in s.main), tilt=0.5)  # type: ignore[arg-type]
        s.ball((0.37, 0.79, z * 0.10), 0.033, DARK)
