"""`scenewright lint`: what will go wrong with scenes, each finding with its mend; `--fix` applies the safe mends."""

import json as json_module
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from scenewright.errors import UserError

app = App(name="lint", help="Say what will go wrong with scenes before drawing them.")


@app.default
def lint(
    *scenes: Path,
    fix: bool = False,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    model: str = "embedded",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Report what will go wrong with scenes on a model: nothing is drawn. Exit code 1 if there are errors.

    Args:
        scenes: Scene files, or folders of them.
        fix: Apply the safe mends and write the mended scenes to the folder of --out.
        out: Where mended scenes go.
        model: Preset, folder or hub id of the model to check against.
        json: Print one JSON object.
    """
    from scenewright.backends import load
    from scenewright.lint import fix as mend
    from scenewright.lint import lint as check
    from scenewright.runs import entries
    from scenewright.scene_io import write_scene

    if not scenes:
        raise UserError("no scene given; name scene files or folders")
    if fix and out is None:
        raise UserError("--fix needs a place for the mended scenes; add -o FOLDER")
    facts = load(model).facts()
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    fixed = 0
    for entry in entries(scenes):
        try:
            scene = entry.read()
        except UserError as error:
            failed.append({"scene": entry.name, "reason": str(error)})
            continue
        found = check(scene, facts)
        if fix and out is not None:
            mended, applied = mend(scene, found)
            fixed += len(applied)
            write_scene(mended, out / f"{entry.name}.json")
            found = check(mended, facts)
        for finding in found:
            rows.append({"scene": entry.name, "code": finding.code, "severity": str(finding.severity)})
            rows[-1] |= {"segment": finding.segment, "message": finding.message, "mend": finding.mend}
    if json:
        print(json_module.dumps({"findings": rows, "failed": failed, "fixed": fixed}))
    else:
        _print(rows, failed, fixed)
    return 1 if failed or any(row["severity"] == "error" for row in rows) else 0


def _print(rows: list[dict[str, Any]], failed: list[dict[str, str]], fixed: int) -> None:
    for row in rows:
        print(f"{row['scene']}: {row['severity']}: {row['message']} [{row['code']}]\n    mend: {row['mend']}")
    for row in failed:
        print(f"{row['scene']}: error: {row['reason']} [unreadable]")
    print(f"{len(rows)} findings, {len(failed)} unreadable" + (f", {fixed} mended" if fixed else ""))
