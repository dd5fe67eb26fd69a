"""Judges that know the truth: renders are recognised by their pixels, anything else is called by its brightness."""

import numpy as np
import pytest

from scenewright.bench import drawing
from scenewright.bench.scoring import Judges
from scenewright.world import CLASSES, Sample, render


def oracle_judges(monkeypatch: pytest.MonkeyPatch) -> Judges:
    """Exact class maps for pictures that benches render during the test, in this process; arbitrary ones for others."""
    known: dict[bytes, np.ndarray] = {}

    def remembered(seed: int, unseen: bool = False) -> Sample:
        sample = render(seed, unseen=unseen)
        known[sample.image.tobytes()] = sample.classes
        return sample

    def segment(images: np.ndarray) -> np.ndarray:
        guessed = (images.sum(-1) % len(CLASSES)).astype(np.uint8)
        keys = [image.tobytes() for image in images]
        return np.stack(
            [guess if (truth := known.get(key)) is None else truth for key, guess in zip(keys, guessed, strict=True)]
        )

    def features(images: np.ndarray) -> np.ndarray:
        flat = images.reshape(len(images), -1, 3) / 255
        return np.concatenate([flat.mean(1), flat.std(1)], axis=1).astype(np.float32)

    monkeypatch.setattr(drawing, "render", remembered)
    monkeypatch.setattr(drawing.os, "cpu_count", lambda: 1)
    return Judges(segment, features, lambda texts: np.ones((len(texts), 6), np.float32), "oracle")
