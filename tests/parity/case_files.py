"""Recorded runs made by the tests themselves: a torch module, run once, written as `case.yaml` and tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn


def record(
    folder: Path,
    module: nn.Module,
    inputs: dict[str, Tensor],
    outputs: dict[str, Tensor],
    official: str = "lib.py::Net",
    **head: Any,
) -> Path:
    """Write a case; `params` are those of the module if they are not given."""
    folder.mkdir(parents=True, exist_ok=True)
    case = {
        "paper": folder.parent.name,
        "unit": "model",
        "official": official,
        "args": {},
        "inputs": {name: list(tensor.shape) for name, tensor in inputs.items()},
        "outputs": {name: list(tensor.shape) for name, tensor in outputs.items()},
        "params": sum(p.numel() for p in module.parameters()),
        "mode": "eval",
        "note": "",
    }
    (folder / "case.yaml").write_text(yaml.safe_dump({**case, **head}, sort_keys=False), encoding="utf-8")
    tensors = {f"state.{key}": tensor for key, tensor in module.state_dict().items()}
    tensors |= {f"in.{name}": tensor for name, tensor in inputs.items()}
    tensors |= {f"out.{name}": tensor for name, tensor in outputs.items()}
    save_file(
        {key: tensor.detach().clone().contiguous() for key, tensor in tensors.items()}, folder / "tensors.safetensors"
    )
    return folder


def uneven(module: nn.Module) -> nn.Module:
    """The module with every parameter and buffer drawn, so that no two can be mistaken for each other."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for key, tensor in module.state_dict(keep_vars=True).items():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5, generator=generator) if "var" in key else tensor.normal_(
                    0, 0.5, generator=generator
                )
    return module
