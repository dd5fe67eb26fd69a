"""The shape of the code: dependencies point down, the import is light, files and functions stay small."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "scenewright"

# The longest matching prefix gives a module its layer; what is not named is a whole job (layer 4).
LAYERS = {
    "errors": 0,
    "masks": 1,
    "files": 0,
    "families": 1,
    "scene": 1,
    "scene_io": 1,
    "record": 1,
    "lint": 1,
    "world": 1,
    "datasets": 1,
    "metrics": 1,
    "maps": 1,
    "condition": 2,
    "denoiser": 2,
    "attention": 2,
    "joint": 2,
    "schedule": 2,
    "solvers": 2,
    "sampling": 3,
    "guidance": 3,
    "backends": 3,
    "transfer.oasis": 2,
    "transfer.losses": 2,
    "transfer.folder": 2,
    "transfer.folding": 2,
    "transfer.encoder": 2,
    "metrics.report": 4,
    "commands": 5,
    "web": 5,
    "cli": 6,
}
SIBLINGS = ("sampling", "guidance", "backends")
MODEL_CODE = ("backends", "judges", "perceptual", "segmenters", "training", "transfer.readers")
BESIDE = ("world", "datasets", "metrics.layout", "metrics.quality")
MODULES = sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    """Dotted name below the package: `guidance.zest`, or "" for the package itself."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def within(name: str, *parents: str) -> bool:
    return any(name == parent or name.startswith(parent + ".") for parent in parents)


def layer_of(name: str) -> int:
    found = [prefix for prefix in LAYERS if within(name, prefix)]
    return LAYERS[max(found, key=len)] if found else 4


def imported(path: Path) -> Iterator[str]:
    """Every module a file imports, inside functions too, as dotted names; TYPE_CHECKING blocks are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(path, node)
            yield module
            if module.split(".")[0] == "scenewright":
                yield from (f"{module}.{alias.name}" for alias in node.names if is_module(f"{module}.{alias.name}"))


def absolute(path: Path, node: ast.ImportFrom) -> str:
    """The dotted name of the module that `from … import` names in the file `path`."""
    if not node.level:
        return node.module or ""
    package = ("scenewright", *path.relative_to(SOURCE).parent.parts)
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


def is_module(dotted: str) -> bool:
    path = SOURCE.joinpath(*dotted.split(".")[1:])
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def inner(path: Path) -> Iterator[str]:
    """Package modules a file imports, without the `scenewright.` in front and without the light package itself."""
    for module in imported(path):
        if module.startswith("scenewright."):
            yield module.removeprefix("scenewright.")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_dependencies_point_down(path: Path) -> None:
    name = name_of(path)
    if not name:
        return
    for other in inner(path):
        assert layer_of(other) <= layer_of(name), f"{name} (layer {layer_of(name)}) imports {other} ({layer_of(other)})"
        mine = [part for part in SIBLINGS if within(name, part)]
        theirs = [part for part in SIBLINGS if within(other, part)]
        assert not (mine and theirs and mine != theirs), f"{name} imports its sibling {other}"
        assert other != "cli" or name == "cli", f"{name} imports the command line"
        if within(name, *BESIDE):
            assert within(other, *BESIDE) or layer_of(other) <= 1, (
                f"{name} stands beside the tower, yet imports {other}"
            )


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_heavy_packages_stay_in_model_code(path: Path) -> None:
    name = name_of(path)
    roots = {module.split(".")[0] for module in imported(path)}
    if not within(name, *MODEL_CODE):
        assert not roots & {"diffusers", "transformers"}, f"{name} imports model packages; only {MODEL_CODE} may"
    if name and layer_of(name) <= 1:
        assert "torch" not in roots, f"{name} is layer 1 and must not import torch"


HEAVY = "import sys; import {}; print(sorted(set(sys.modules) & {{'torch', 'diffusers', 'transformers', 'scipy'}}))"


@pytest.mark.parametrize("module", ["scenewright", "scenewright.cli", "scenewright.record"])
def test_import_is_light(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", HEAVY.format(module)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_exist() -> None:
    import scenewright

    for name in scenewright.__all__:
        assert getattr(scenewright, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = scenewright.nonsense


def test_version_is_one_number() -> None:
    import tomllib

    import scenewright

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == scenewright.__version__


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "tests").rglob("*.py"))], ids=str)
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300, f"{path.name} is over 300 lines: split it"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{path.name}: {node.name} has {length} lines: split it"
