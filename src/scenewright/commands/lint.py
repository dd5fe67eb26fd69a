"""`scenewright lint`: what will go wrong with scenes, each finding with its mend; `--fix` applies the safe mends."""

import json as json_module
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from scenewright.commands.progress import progress
from scenewright.errors import UserError

if TYPE_CHECKING:
    from scenewright.lint import ModelFacts
    from scenewright.scene_io import Source

app = App(name="lint", help="Say what will go wrong with scenes before drawing them.")


@app.default
def lint(
    *scenes: Path,
    fix: bool = False,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    model: str = "embedded",
    guidance: str = "",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Report what will go wrong with scenes on a model: nothing is drawn. Exit code 1 if there are errors.

    Args:
        scenes: Scene files, or folders of them.
        fix: Apply the safe mends and write the mended scenes to the folder of --out.
        out: Where mended scenes go.
        model: Preset, folder or hub id of the model to check against.
        guidance: Method the scenes will be drawn with: also say if the model does not take it.
        json: Print one JSON object.
    """
    from scenewright.api import Settings, opened
    from scenewright.runs import entries

    if not scenes:
        raise UserError("no scene given; name scene files or folders")
    if fix and out is None:
        raise UserError("--fix needs a place for the mended scenes; add -o FOLDER")
    facts = opened(model)[0].facts()
    methods = (Settings(guidance).method,) if guidance else ()
    found = entries(scenes)
    outcome = Outcome()
    with progress("checking", len(found.sources)) as told:
        for entry in found.sources:
            outcome.check(entry, facts, methods, out if fix else None)
            told(entry.name)
    if json:
        print(json_module.dumps({"findings": outcome.rows, "failed": outcome.failed, "fixed": outcome.fixed}))
    else:
        outcome.report()
    return 1 if outcome.failed or any(row["severity"] == "error" for row in outcome.rows) else 0


@dataclass
class Outcome:
    """What lint found in the scenes so far."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    fixed: int = 0

    def check(self, entry: "Source", facts: "ModelFacts", methods: tuple[str, ...], out: Path | None) -> None:
        """Read and lint one scene; with `out`, write it there mended and keep only what the mends left."""
        from scenewright.lint import fix, lint
        from scenewright.scene_io import write_scene

        try:
            scene = entry.read()
        except UserError as error:
            self.failed.append({"scene": entry.name, "reason": str(error)})
            return
        found = lint(scene, facts, methods)
        if out is not None:
            scene, applied = fix(scene, found)
            self.fixed += len(applied)
            write_scene(scene, out / f"{entry.name}.json")
            found = lint(scene, facts, methods)
        for finding in found:
            row = {"scene": entry.name, "code": finding.code, "severity": str(finding.severity)}
            self.rows.append(row | {"segment": finding.segment, "message": finding.message, "mend": finding.mend})

    def report(self) -> None:
        for row in self.rows:
            print(f"{row['scene']}: {row['severity']}: {row['message']} [{row['code']}]\n    mend: {row['mend']}")
        for row in self.failed:
            print(f"{row['scene']}: error: {row['reason']} [unreadable]")
        mended = f", {self.fixed} mended" if self.fixed else ""
        print(f"{len(self.rows)} findings, {len(self.failed)} unreadable{mended}")
