"""Make torchvision, and so timm, importable beside a CPU build of torch.

PyPI's torchvision for Linux is linked against CUDA. Beside a CPU build of torch its compiled operators cannot load. It
tolerates that, but then registers shape functions for two of them all the same, and its import ends with ``operator
torchvision::nms does not exist``. Declaring the two signatures is enough: transforms and models work, non-maximum
suppression itself stays without a kernel.
"""

from importlib import import_module
from types import ModuleType

import torch


def import_torchvision() -> ModuleType:
    """Import torchvision, declaring the operators that its own build could not; call it before importing timm."""
    try:
        return import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return import_module("torchvision")
