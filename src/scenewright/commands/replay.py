"""`scenewright replay`: draw a picture again from its record and say whether it matches."""

import json as json_module
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

app = App(name="replay", help="Draw a picture again from its record and say whether it matches.")


@app.default
def replay(
    picture: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    model: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Draw PICTURE again. Exit code 0 if every pixel matches, 1 if not. On the machine that drew it, it matches.

    Args:
        picture: A picture with a record inside (.png), or a record (.json).
        out: The new picture (.png), or a folder for it.
        model: Where the model is now, if it has moved since.
        json: Print the outcome as JSON.
    """
    from scenewright.api import differences, replay
    from scenewright.record import digest, read_picture, read_record

    record = read_record(picture)
    drawn = replay(record, model)
    target = out if out.suffix.lower() == ".png" else out / f"{picture.stem}.png"
    drawn.save(target)
    before = record.pixels if picture.suffix.lower() == ".json" else digest(read_picture(picture))
    matched = before == drawn.record.pixels
    changed = differences(record, drawn.record)
    for line in changed:
        print(f"warning: {line}", file=sys.stderr)
    if json:
        print(json_module.dumps({"picture": str(target), "matched": matched, "differences": changed}))
    else:
        print(f"{target}: {'every pixel matches' if matched else 'the pixels differ'}")
    return 0 if matched else 1
