"""Models that read label maps on disk: config.json, safetensors, and the names of the classes they draw."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from scenewright.errors import UserError
from scenewright.files import write_atomically
from scenewright.transfer.oasis import Oasis, OasisConfig

CONFIG = "config.json"
KINDS = ("oasis", "semantic")


@dataclass(frozen=True, eq=False)
class Source:
    """An OASIS model and what its classes are called; `names[0]` is "unlabelled".

    `values` are what the classes after it are in label pictures, `void` the values that mean nothing there.
    """

    pair: Oasis
    names: tuple[str, ...]
    values: tuple[int, ...] = ()
    void: tuple[int, ...] = (0,)


def save_source(source: Source, folder: Path) -> None:
    """Write config.json, generator.safetensors and discriminator.safetensors; weights in fp16, statistics in fp32."""
    settings = {
        "kind": "oasis",
        "names": list(source.names),
        "values": list(source.values or range(1, len(source.names))),
        "void": list(source.void),
        "settings": source.pair.config.as_dict(),
    }
    for name in ("generator", "discriminator"):
        write_weights(getattr(source.pair, name), folder / f"{name}.safetensors")
    write_atomically(folder / CONFIG, (json.dumps(settings, indent=1) + "\n").encode())


def write_weights(model: nn.Module, path: Path) -> None:
    """The model's parameters in fp16 and its buffers as they are."""
    learned = {name for name, _ in model.named_parameters()}
    tensors = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    halved = {name: value.half() if name in learned else value for name, value in tensors.items()}
    write_atomically(path, save({name: value.contiguous() for name, value in halved.items()}))


def load_source(folder: Path) -> Source:
    """The OASIS model of a folder, in float32 and ready to draw; raises UserError if it is none."""
    facts = read_config(folder, "oasis")
    try:
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in facts["settings"].items()}
        names, values, void = (tuple(facts[key]) for key in ("names", "values", "void"))
        source = Source(Oasis(OasisConfig(**fields)), tuple(map(str, names)), values, void)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder / CONFIG} is damaged; copy the model's folder again.") from error
    if len(source.names) != source.pair.config.classes:
        raise UserError(f"{folder / CONFIG} names {len(source.names)} classes, not {source.pair.config.classes}.")
    for name in ("generator", "discriminator"):
        read_weights(getattr(source.pair, name), folder / f"{name}.safetensors")
    source.pair.eval()
    return source


def reads_labels(folder: Path) -> bool:
    """Whether a folder says that it holds a model that reads label maps."""
    try:
        return json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("kind") in KINDS
    except (OSError, ValueError, AttributeError):
        return False


def read_config(folder: Path, kind: str = "") -> dict[str, Any]:
    """The config.json of a folder of such a model; raises UserError if there is none, or it is of another kind."""
    try:
        facts = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        found = facts["kind"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} holds no model that reads label maps; name the folder of one.") from error
    if kind and found != kind:
        raise UserError(f"{folder} holds a model of kind '{found}', not '{kind}'; name the folder of one.")
    return facts


def read_weights(model: nn.Module, path: Path) -> None:
    """Load a safetensors file into a model; raises UserError if it is missing, damaged or of another shape."""
    try:
        model.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as the weights of this model; copy its folder again.") from error
