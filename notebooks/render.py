"""Run the lesson and render it as a page: `python notebooks/render.py` (or `make lesson`) writes both anew.

The notebook is committed with its outputs, so that it reads on a forge, but without what changes from run to run. The
page is `docs/zestguide.md` with its pictures in `docs/images`.
"""

import argparse
import re
from copy import deepcopy
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "zestguide.ipynb"
DOCS = ROOT / "docs"
WIDGET = "application/vnd.jupyter.widget-view+json"
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def executed(notebook: NotebookNode, timeout: int = 1800) -> NotebookNode:
    """The notebook with new outputs; raises nbclient's CellExecutionError at the first cell that fails."""
    done = deepcopy(notebook)
    NotebookClient(done, timeout=timeout, kernel_name="python3").execute()
    return done


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """The same cells and outputs without times, versions, widget states and warnings."""
    kept = deepcopy(notebook)
    kept.metadata = NotebookNode({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for cell in kept.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = NotebookNode({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [_without_count(output) for output in cell.outputs if not _aside(output)]
    return kept


def page(notebook: NotebookNode, name: str) -> tuple[str, dict[str, bytes]]:
    """Markdown of a notebook, and its pictures by their path beside the page."""
    resources = {"unique_key": name, "output_files_dir": "images"}
    text, resources = MarkdownExporter().from_notebook_node(deepcopy(notebook), resources)
    texts = iter(_alternatives(notebook))
    text = re.sub(r"!\[(?:png|jpeg)\]", lambda _: f"![{next(texts)}]", text)
    text = text.replace("](../docs/", "](")
    origin = f"<!-- Made from notebooks/{name}.ipynb by notebooks/render.py: change it there. -->\n\n"
    text = re.sub(r"\n{4,}", "\n\n\n", re.sub(r"[ \t]+\n", "\n", text))
    return origin + text.strip() + "\n", resources["outputs"]


def write_page(notebook: NotebookNode, name: str, folder: Path) -> None:
    """Write the page and its pictures, and remove pictures of an earlier one."""
    text, pictures = page(notebook, name)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for old in (folder / "images").glob(f"{name}_*"):
        old.unlink()
    for path, data in pictures.items():
        (folder / path).write_bytes(data)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")


def _aside(output: NotebookNode) -> bool:
    """Warnings, progress bars, and widgets, which are nothing without a kernel."""
    return output.get("name") == "stderr" or WIDGET in output.get("data", {})


def _without_count(output: NotebookNode) -> NotebookNode:
    if output.output_type == "execute_result":
        output.execution_count = None
    return output


def _alternatives(notebook: NotebookNode) -> list[str]:
    """What each picture shows, in words, in the order of the pictures."""
    pictures = [
        (output.metadata.get(kind, {}), output.data)
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for kind in ("image/png", "image/jpeg")
        if kind in output.get("data", {})
    ]
    return [said.get("alt") or "The scene" for said, _ in pictures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="render the page from the outputs that are there")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    if not parser.parse_args().page:
        notebook = cleaned(executed(notebook))
        nbformat.write(notebook, NOTEBOOK)
    write_page(notebook, NOTEBOOK.stem, DOCS)


if __name__ == "__main__":
    main()
