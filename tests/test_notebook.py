"""The lesson runs from top to bottom, its sliders draw, its answers run; what is committed is whole and clean."""

import importlib.util
import re
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).resolve().parent.parent
NAME = "zestguide"

_spec = importlib.util.spec_from_file_location("render", ROOT / "notebooks" / "render.py")
assert _spec is not None
assert _spec.loader is not None
render = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(render)

STRICT = """
import warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "builtin type (SwigPy|swigvar).*", DeprecationWarning)
warnings.filterwarnings("ignore", "For consistency across implementations", PendingDeprecationWarning)  # of ipykernel
"""
TURN = """
first, changed = panel.result.image, []
turns = {"scene": "sea", "method": "none", "guided steps": 0, "zest.eta": 2.0, "layers": "res8", "seed": 3}
for slider in panel.children[:-1]:
    kept, slider.value = slider.value, turns.pop(slider.description)
    changed.append(panel.result.image != first)
    slider.value = kept
    assert panel.result.image == first
print("sliders that change the picture:", sum(changed), "of", len(changed))
assert not turns
"""


@pytest.fixture(scope="module")
def committed():
    return nbformat.read(render.NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def lesson(committed):
    """The short form, run with warnings as errors, then the sliders turned and every answer's code run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCENEWRIGHT_SHORT", "1")
        notebook = deepcopy(committed)
        extra = [TURN, *answers(committed)]
        notebook.cells = [new_code_cell(STRICT), *notebook.cells, *map(new_code_cell, extra)]
        return render.executed(notebook, timeout=600)


def answers(notebook) -> list[str]:
    """Code of the exercises' answers."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown" and "<details>" in cell.source]
    return [code for text in texts for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


def printed(notebook) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


@pytest.mark.slow
@pytest.mark.weights
def test_the_lesson_runs_and_agrees_with_the_library(lesson, committed):
    said = printed(lesson)
    for text in (said, printed(committed)):
        ((by_hand, library),) = re.findall(r"by hand ([\d.]+), library ([\d.]+)", text)
        assert float(by_hand) == pytest.approx(float(library), abs=2e-6)
    ((without, guided),) = re.findall(r"([\d.]+) without guidance, ([\d.]+) with ZestGuide", said)
    assert float(guided) > float(without)
    pictures = [o for cell in lesson.cells for o in cell.get("outputs", []) if "image/jpeg" in o.get("data", {})]
    assert len(pictures) >= 15


@pytest.mark.slow
@pytest.mark.weights
def test_every_slider_changes_the_picture(lesson):
    assert "sliders that change the picture: 6 of 6" in printed(lesson)


def test_the_exercises_have_answers(committed):
    text = "\n".join(cell.source for cell in committed.cells if cell.cell_type == "markdown")
    exercises = len(re.findall(r"^\*\*\d+\.", text, re.MULTILINE))
    assert exercises >= 5
    assert text.count("<details>") == text.count("</details>") == exercises
    assert len(answers(committed)) >= 4


def test_every_cell_that_shows_something_has_its_output(committed):
    for cell in committed.cells:
        if cell.cell_type == "code" and re.search(r"^(show|strip|print|plotted)\(", cell.source, re.MULTILINE):
            assert cell.outputs, cell.source


def test_the_committed_notebook_has_nothing_of_the_machine(committed):
    assert render.cleaned(committed) == committed
    written = nbformat.writes(committed)
    assert not re.search(r"/(tmp|home|root|work|Users)/|site-packages|\\u001b", written)


def test_the_page_is_made_from_the_notebook(committed):
    text, pictures = render.page(committed, NAME)
    assert text == (render.DOCS / f"{NAME}.md").read_text(encoding="utf-8")
    there = {f"images/{path.name}": path.read_bytes() for path in (render.DOCS / "images").glob(f"{NAME}_*")}
    assert there == pictures
    assert sum(map(len, there.values())) < 1.5e6
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (render.DOCS / link).exists(), link
