"""Opening a diffusers folder: safetensors and JSON only, and a sentence for whatever is wrong with it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from scenewright.backends.unet import UNetModel
from scenewright.errors import UserError

# A GLIGEN pipeline has the parts of a plain one, with more layers in its U-Net: it is opened as one.
KINDS = ("StableDiffusionPipeline", "StableDiffusionGLIGENPipeline")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")


def open_folder(source: str, name: str, dtype: torch.dtype, device: torch.device | str | None) -> UNetModel:
    """Load a folder or hub id as a Model called `name`; raises UserError when it is missing, pickled, damaged or of
    another kind.
    """
    folder = Path(source) if Path(source).is_dir() else None
    if folder is not None:
        _inspect(folder, name)
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        with _quiet():
            from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

            pipeline = StableDiffusionPipeline.from_pretrained(
                source, use_safetensors=True, safety_checker=None, requires_safety_checker=False
            )
            pipeline.to(dtype=dtype, device=place)
    except Exception as error:  # every library below has its own kinds, none of them useful to the user
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(f"model '{name}' cannot be read ({reason}); download or copy its folder again.") from error
    return UNetModel.wrap(pipeline, name=name, folder=folder)


def _inspect(folder: Path, name: str) -> None:
    """Refuse what is not a Stable Diffusion pipeline folder, and weights that exist as pickles only."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise UserError(f"'{name}' has no model_index.json; give the folder of a diffusers pipeline.")
    try:
        kind = json.loads(index.read_text(encoding="utf-8"))["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"the model_index.json of '{name}' is damaged; download or copy the folder again.") from error
    if kind not in KINDS:
        raise UserError(f"'{name}' is a {kind}, which is not supported; give a folder of {' or '.join(KINDS)}.")
    for part in ("unet", "vae", "text_encoder"):
        files = [path.suffix.lower() for path in (folder / part).glob("*")]
        if ".safetensors" not in files and any(suffix in _PICKLES for suffix in files):
            raise UserError(f"the {part} of '{name}' is a pickle, which can run code; convert it to safetensors.")


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
