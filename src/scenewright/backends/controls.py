"""Networks that read maps, beside a U-Net: ours, and those that people trained (ControlNet, T2I-Adapter)."""

# diffusers exports lazily and types its constructors loosely.
# pyright: reportPrivateImportUsage=false

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.models.adapter import T2IAdapter
from diffusers.models.controlnets.controlnet import ControlNetModel
from torch import Tensor, nn

from scenewright.backends.adapters import Adapters, Control, TimeAdapter
from scenewright.backends.unet import UNetModel
from scenewright.denoiser import Condition, Parent
from scenewright.errors import UserError
from scenewright.schedule import Level

_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (TimeAdapter, ControlNetModel, T2IAdapter)}
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


@dataclass(frozen=True, eq=False)
class ControlNets:
    """diffusers' ControlNets (Zhang et al. 2023), which read a finished map's picture in every step; answers add up."""

    nets: Mapping[str, ControlNetModel]
    strengths: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, unet: Any, x: Tensor, level: Level, condition: Condition) -> dict[str, Any]:
        answers = []
        for name, net in self.nets.items():
            if name in condition.parents:
                down, mid = net(
                    x.to(net.dtype),
                    torch.tensor(level.timestep, device=x.device),
                    encoder_hidden_states=condition.text.to(net.dtype),
                    controlnet_cond=_picture(condition.parents[name], name).to(net.dtype),
                    conditioning_scale=self.strengths.get(name, 1.0),
                    return_dict=False,
                )
                answers.append({"down_block_additional_residuals": down, "mid_block_additional_residual": mid})
        return _sum(answers)


@dataclass(frozen=True, eq=False)
class StockAdapters:
    """diffusers' T2I-Adapters (Mou et al. 2023), which read a finished map's picture once; features add up."""

    nets: Mapping[str, T2IAdapter]
    strengths: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, unet: Any, x: Tensor, level: Level, condition: Condition) -> dict[str, Any]:
        answers = []
        for name, net in self.nets.items():
            if name in condition.parents:
                picture, strength = _picture(condition.parents[name], name), self.strengths.get(name, 1.0)
                if net.config["in_channels"] == 1:
                    picture = picture.mean(1, keepdim=True)
                source = condition.parents[name].latents
                features = condition.once(("features", id(net)), source, lambda n=net, p=picture: n(p.to(n.dtype)))
                answers.append({"down_intrablock_additional_residuals": [strength * f for f in features]})
        return _sum(answers)


@dataclass(frozen=True, eq=False)
class Together:
    """Several controls at once; what they add to the same place adds up."""

    controls: Sequence[Control]

    def __call__(self, unet: Any, x: Tensor, level: Level, condition: Condition) -> dict[str, Any]:
        return _sum([control(unet, x, level, condition) for control in self.controls])


def controlled(
    model: UNetModel,
    parents: Mapping[str, Any],
    own: TimeAdapter | None = None,
    strengths: Mapping[str, float] | None = None,
) -> UNetModel:
    """The model as a factor's: with a network for each parent, and `own` if it draws a map.

    A network is a `TimeAdapter`, a diffusers `ControlNetModel` or `T2IAdapter`, or the folder of one. Its weights are
    frozen and moved to the model's device. Raises UserError for other things, and for one that does not fit the U-Net.
    """
    nets = {name: read(net) if isinstance(net, str | Path) else net for name, net in parents.items()}
    for name, net in nets.items():
        if not isinstance(net, tuple(_KINDS.values())):
            raise UserError(f"'{name}' is read by a {type(net).__name__}; give one of {', '.join(_KINDS)}.")
        _check_fit(model.pipeline.unet, name, net)
    for net in (*nets.values(), own):
        if net is not None:
            # torch's own `to`: that of diffusers warns about nothing as soon as it is given a dtype.
            frozen: Any = net.requires_grad_(False).eval()
            nn.Module.to(frozen, model.device, model.pipeline.unet.dtype)
    strengths = strengths or {}
    ours = {name: net for name, net in nets.items() if isinstance(net, TimeAdapter)}
    found: list[Control] = [Adapters(own, ours, strengths)] if own is not None or ours else []
    stock: Any = ((ControlNetModel, ControlNets), (T2IAdapter, StockAdapters))
    for kind, control in stock:
        if some := {name: net for name, net in nets.items() if isinstance(net, kind)}:
            found.append(control(some, strengths))
    return replace(model, control=found[0] if len(found) == 1 else Together(found))


def read(folder: Path | str) -> Any:
    """A network from its diffusers folder, safetensors only, in float32; raises UserError if it is none of ours."""
    path = Path(folder)
    try:
        kind = json.loads((path / "config.json").read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"'{folder}' has no config.json of a network; give a ControlNet's or adapter's folder."
        ) from None
    if kind not in _KINDS:
        raise UserError(f"'{folder}' is a {kind}, which is not supported; give one of {', '.join(_KINDS)}.")
    if not any(path.glob("*.safetensors")):
        pickled = any(file.suffix in _PICKLES for file in path.iterdir())
        what = "is a pickle, which can run code; convert it to safetensors" if pickled else "has no safetensors weights"
        raise UserError(f"'{folder}' {what}.")
    try:
        return _KINDS[kind].from_pretrained(path, use_safetensors=True).float().eval()
    except Exception as error:  # the library below has its own kinds, none of them useful to the user
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(f"'{folder}' cannot be read ({reason}); copy its folder again.") from error


def _picture(parent: Parent, name: str) -> Tensor:
    """A finished map's picture (N, 3, H, W) in [0, 1]."""
    if parent.picture is None:
        raise UserError(
            f"'{name}' is read as a picture by a network that needs it finished; draw with mode 'ancestral', and give "
            "its factor a codec."
        )
    return parent.picture / 2 + 0.5


def _check_fit(unet: Any, name: str, net: Any) -> None:
    """Refuse a network of another kind of U-Net here: inside, sizes would only fail to add up."""
    mine = tuple(unet.config.block_out_channels)
    theirs = tuple(net.config["channels" if isinstance(net, T2IAdapter) else "block_out_channels"])
    if mine != theirs:
        raise UserError(f"the network that reads '{name}' is for widths {theirs}, this model has {mine}; take another.")


def _sum(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Keyword arguments added up place by place."""
    total: dict[str, Any] = {}
    for answer in answers:
        for key, value in answer.items():
            if key not in total:
                total[key] = value
            elif isinstance(value, Tensor):
                total[key] = total[key] + value
            else:
                total[key] = type(value)(a + b for a, b in zip(total[key], value, strict=True))
    return total
