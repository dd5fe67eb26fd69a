"""Backbones by name: `load` turns a preset, a folder, a hub id, a file or a pipeline into a Model."""

from pathlib import Path
from typing import Any

import torch

from scenewright.denoiser import Model
from scenewright.errors import UserError
from scenewright.transfer.folder import read_config, reads_labels

PRESETS = {"embedded": Path(__file__).parent.parent / "models" / "embedded"}
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


def load(
    source: Any = "embedded", dtype: torch.dtype | str | None = None, device: torch.device | str | None = None
) -> Model:
    """Open a model: a preset name, a diffusers folder, the folder of a model that reads label maps, a hub id
    ("owner/name"), a single .safetensors file of a family that diffusers can tell, or a text-to-image pipeline you
    built. docs/backbones.md lists the families.

    Folders and files are read as safetensors only and loaded as `dtype` (default float32) on `device` (default: the
    GPU if there is one). A pipeline keeps its dtype, device, LoRA and offloading unless told otherwise; its network
    gets our attention processors and no longer asks for weight gradients, until the model's `release()`. Raises
    UserError for anything that is not such a model, and for pickled weights.
    """
    from scenewright.backends.folder import open_file, open_folder, wrapped
    from scenewright.backends.label_maps import OasisModel
    from scenewright.backends.semantic import SemanticModel

    if not isinstance(source, str | Path):
        return wrapped(source, None if dtype is None else _dtype(dtype), device)
    name = str(source)
    where = str(PRESETS.get(name, source))
    path = Path(where)
    if path.suffix.lower() in _PICKLES:
        raise UserError(f"'{name}' is a pickle, which can run code; convert it to a diffusers folder with safetensors.")
    if path.suffix.lower() == ".safetensors":
        return open_file(path, name, _dtype(dtype), device)
    if path.is_file():
        raise UserError(f"'{name}' is a file; give the folder of a diffusers pipeline instead.")
    if not path.is_dir() and (path.is_absolute() or name.startswith(".") or name.count("/") != 1):
        raise UserError(
            f"there is no model '{name}'; give a folder, a hub id (owner/name) or one of {', '.join(PRESETS)}."
        )
    if (path := Path(where)).is_dir() and reads_labels(path):
        kinds = {"oasis": OasisModel, "semantic": SemanticModel}
        return kinds[read_config(path)["kind"]].open(path, name)
    return open_folder(where, name, _dtype(dtype), device)


def _dtype(value: torch.dtype | str | None) -> torch.dtype:
    """A torch dtype from its name; float32 when none is given."""
    found = getattr(torch, value, None) if isinstance(value, str) else value or torch.float32
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise UserError(f"dtype '{value}' is not known; choose from float32, bfloat16, float16.")
    return found
