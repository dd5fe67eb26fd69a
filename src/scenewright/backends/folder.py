"""Opening a diffusers folder or a single file: safetensors and JSON only, and a sentence for whatever is wrong with
it.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from scenewright.backends.mmdit import TransformerModel
from scenewright.backends.pipelines import PipelineModel
from scenewright.backends.unet import UNetModel
from scenewright.errors import UserError
from scenewright.families import FAMILIES, family_of

_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")
_NEEDED = ("vae", "tokenizer", "text_encoder", "scheduler")
_SECOND = ("tokenizer_2", "text_encoder_2")  # of pipelines that have a place for them
# Keys by which diffusers, too, tells the family of a single file.
_MARKS = {
    "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias": "sdxl",
    "model.diffusion_model.output_blocks.11.0.skip_connection.weight": "unet",
    "joint_blocks.0.context_block.adaLN_modulation.1.bias": "sd3",
    "model.diffusion_model.joint_blocks.0.context_block.adaLN_modulation.1.bias": "sd3",
    "double_blocks.0.img_attn.norm.key_norm.scale": "flux",
    "model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale": "flux",
}


def wrapped(
    pipeline: Any,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    name: str = "",
    folder: Path | None = None,
) -> PipelineModel:
    """A built pipeline as a Model; raises UserError for pipelines of other kinds and for those that lack a part."""
    kind = type(pipeline).__name__
    family = family_of(tuple(cls.__name__ for cls in type(pipeline).__mro__))
    if family is None:
        raise UserError(f"{kind} is not supported; give a {_listed()} or its folder.")
    missing = [part for part in _NEEDED if getattr(pipeline, part, None) is None]
    missing += [part for part in _SECOND if getattr(pipeline, part, "") is None]
    if missing:
        raise UserError(f"this {kind} has no {missing[0]}; load it with one.")
    shape = UNetModel if hasattr(pipeline, "unet") else TransformerModel
    return shape.wrap(pipeline, dtype, device, name, folder, family)


def open_folder(source: str, name: str, dtype: torch.dtype, device: torch.device | str | None) -> PipelineModel:
    """Load a folder or hub id as a Model called `name`; raises UserError when it is missing, pickled, damaged or of
    another kind.
    """
    folder = Path(source) if Path(source).is_dir() else None
    if folder is not None:
        _inspect(folder, name)

    def read() -> Any:
        from diffusers.pipelines.pipeline_utils import DiffusionPipeline

        index: Any = DiffusionPipeline.load_config(source)
        kind = family_of((str(index.get("_class_name")),))
        # Stable Diffusion's checker is a model of its own that nobody asks for here.
        plain = {"safety_checker": None, "requires_safety_checker": False} if kind in ("unet", "gligen") else {}
        return DiffusionPipeline.from_pretrained(source, use_safetensors=True, **plain)

    return wrapped(_read(read, name, "download or copy its folder again", dtype, device), name=name, folder=folder)


def open_file(path: Path, name: str, dtype: torch.dtype, device: torch.device | str | None) -> PipelineModel:
    """Load a single .safetensors file as a Model; diffusers looks up what the file lacks (tokenizers, configuration) on
    the hub. Raises UserError when it is missing, damaged or of a family that its keys do not tell.
    """
    if not path.is_file():
        raise UserError(f"there is no file '{name}'; check its path.")

    def read() -> Any:
        import diffusers
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            keys = set(file.keys())
        family = next((family for key, family in _MARKS.items() if key in keys), None)
        if family is None:
            raise UserError(f"'{name}' holds no model whose family its keys tell; give a diffusers folder instead.")
        return getattr(diffusers, FAMILIES[family].pipelines[0]).from_single_file(str(path))

    return wrapped(_read(read, name, "download it again or give a diffusers folder", dtype, device), name=name)


def _read(read: Callable[[], Any], name: str, mend: str, dtype: torch.dtype, device: torch.device | str | None) -> Any:
    """What `read` returns, moved to its place; whatever goes wrong becomes a sentence."""
    try:
        with _quiet():
            pipeline = read()
            pipeline.to(dtype=dtype, device=device or ("cuda" if torch.cuda.is_available() else "cpu"))
            return pipeline
    except UserError:
        raise
    except Exception as error:  # every library below has its own kinds, none of them useful to the user
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(f"model '{name}' cannot be read ({reason}); {mend}.") from error


def _inspect(folder: Path, name: str) -> None:
    """Refuse what is not a pipeline of a known family, and weights that exist as pickles only."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise UserError(f"'{name}' has no model_index.json; give the folder of a diffusers pipeline.")
    try:
        parts = json.loads(index.read_text(encoding="utf-8"))
        kind = parts["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"the model_index.json of '{name}' is damaged; download or copy the folder again.") from error
    if family_of((kind,)) is None:
        raise UserError(f"'{name}' is a {kind}, which is not supported; give a {_listed()} folder.")
    for part in sorted(key for key in parts if not key.startswith("_")):
        files = [path.suffix.lower() for path in (folder / part).glob("*")]
        if ".safetensors" not in files and any(suffix in _PICKLES for suffix in files):
            raise UserError(f"the {part} of '{name}' is a pickle, which can run code; convert it to safetensors.")


def _listed() -> str:
    """The pipelines that are supported, for people."""
    *most, last = [kind for family in FAMILIES.values() for kind in family.pipelines]
    return f"{', '.join(most)} or {last}"


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and notes of other libraries while they are imported and load; their settings are put back."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, (verbosity, shown) in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            if shown:
                library.enable_progress_bar()
