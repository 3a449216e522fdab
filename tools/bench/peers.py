"""One peer that counts MACs, in a process of its own: it prints JSON.

    python -m tools.bench.peers PEER MODEL ROUNDS     seconds of construction with analysis, MACs, params
    python -m tools.bench.peers PEER probes           what it counts of single layers

Several of them patch torch for good, so they can't share a process.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

SHAPE = (1, 3, 224, 224)

Counted = tuple[float, int]

#: timm's name of a model, or (file, variant) of ours where timm has none.
MODELS: dict[str, str | tuple[str, str]] = {
    "ViT-B/16": "vit_base_patch16_224",
    "MaxViT-T": "maxvit_tiny_tf_224",
    "ResNet-50": "resnet50",
    "MobileNetV2": "mobilenetv2_100",
    "Agent-DeiT-T": ("agent-attention/deit.yaml", "deit_t"),
    "BiFormer-T": ("biformer.yaml", "tiny"),
}


def _params(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


def _flop_counter(model: Any, shape: tuple[int, ...], device: str) -> Counted:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(shape, device=device))
    return counter.get_total_flops() / 2, _params(model)


def _fvcore(model: Any, shape: tuple[int, ...]) -> Counted:
    import torch
    from fvcore.nn import FlopCountAnalysis

    found = FlopCountAnalysis(model, torch.zeros(shape))
    found.unsupported_ops_warnings(False)
    found.uncalled_modules_warnings(False)
    return found.total(), _params(model)


def _ptflops(model: Any, shape: tuple[int, ...]) -> Counted:
    from ptflops import get_model_complexity_info

    macs, params = get_model_complexity_info(
        model, shape[1:], as_strings=False, print_per_layer_stat=False, verbose=False
    )
    return macs, params


def _thop(model: Any, shape: tuple[int, ...]) -> Counted:
    import torch
    from thop import profile

    macs, params = profile(model, inputs=(torch.zeros(shape),), verbose=False)
    return macs, int(params)


def _calflops(model: Any, shape: tuple[int, ...]) -> Counted:
    from calflops import calculate_flops

    _, macs, params = calculate_flops(
        model=model, input_shape=shape, output_as_string=False, print_results=False, print_detailed=False
    )
    return macs, int(params)


def _torchinfo(model: Any, shape: tuple[int, ...]) -> Counted:
    from torchinfo import summary

    found = summary(model, input_size=shape, verbose=0, device="cpu")
    return found.total_mult_adds, found.total_params


#: Device of the model, and how it is counted.
PEERS: dict[str, tuple[str, Callable[[Any, tuple[int, ...]], Counted]]] = {
    "FlopCounterMode, meta": ("meta", lambda model, shape: _flop_counter(model, shape, "meta")),
    "FlopCounterMode, cpu": ("cpu", lambda model, shape: _flop_counter(model, shape, "cpu")),
    "fvcore": ("cpu", _fvcore),
    "ptflops": ("cpu", _ptflops),
    "torchinfo": ("cpu", _torchinfo),
    "calflops": ("cpu", _calflops),
    "thop (ultralytics)": ("cpu", _thop),
}

#: Layers that peers are asked about, with the exact multiply-accumulates, or None where there are none: then what a
#: peer counts is told per element of the result. All map [1, 64, 32, 32], or its 1024 tokens of 64 channels.
PROBES: dict[str, float | None] = {
    "conv2d": 64 * 64 * 1024.0,
    "linear": 64 * 64 * 1024.0,
    "matmul": 2 * 1024 * 1024 * 64.0,
    "einsum": 2 * 1024 * 1024 * 64.0,
    "attention": 2 * 1024 * 1024 * 64.0,
    "attention with a mask": 2 * 1024 * 1024 * 64.0,
    "MultiheadAttention": 2 * 1024 * 1024 * 64 + 4 * 64 * 64 * 1024.0,
    "timm's Attention": 2 * 1024 * 1024 * 64 + 4 * 64 * 64 * 1024.0,
    "layer_norm": None,
    "batch_norm2d": None,
    "relu": None,
    "gelu": None,
    "softmax": None,
    "addition": None,
    "avg_pool2d": None,
}


def probe(name: str) -> Any:
    """A module for [1, 64, 32, 32] that does one thing."""
    import torch
    from torch import Tensor, nn

    functional = nn.functional

    def tokens(x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)

    def heads(x: Tensor) -> Tensor:
        return tokens(x).unflatten(2, (4, 16)).transpose(1, 2).contiguous()

    def by_products(x: Tensor, product: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        x = tokens(x)
        return product(product(x, x.transpose(1, 2)), x)

    def of_timm() -> nn.Module:
        attention: nn.Module = import_module("timm.layers").Attention(64, 4, qkv_bias=False, proj_bias=False)
        return attention

    layers: dict[str, Callable[[], nn.Module]] = {
        "conv2d": lambda: nn.Conv2d(64, 64, 1, bias=False),
        "linear": lambda: nn.Linear(64, 64, bias=False),
        "MultiheadAttention": lambda: nn.MultiheadAttention(64, 4, bias=False, batch_first=True),
        "timm's Attention": of_timm,
        "layer_norm": lambda: nn.LayerNorm(64),
        "batch_norm2d": lambda: nn.BatchNorm2d(64),
        "relu": nn.ReLU,
        "gelu": nn.GELU,
        "softmax": lambda: nn.Softmax(-1),
        "avg_pool2d": lambda: nn.AvgPool2d(2),
    }
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "matmul": lambda x: by_products(x, torch.matmul),
        "einsum": lambda x: by_products(x, lambda a, b: torch.einsum("bij,bjk->bik", a, b)),
        "attention": lambda x: functional.scaled_dot_product_attention(*[heads(x)] * 3),
        "attention with a mask": lambda x: functional.scaled_dot_product_attention(
            *[heads(x)] * 3, torch.zeros(1, 4, 1024, 1024, device=x.device)
        ),
        "addition": lambda x: x + x,
    }

    class Probe(nn.Module):
        """One layer, and a parameter, without which some peers fail."""

        def __init__(self) -> None:
            super().__init__()
            self.unread = nn.Parameter(torch.zeros(1))
            if name in layers:
                self.layer = layers[name]()

        def forward(self, x: Tensor) -> Tensor:
            if name in functions:
                return functions[name](x)
            if name == "MultiheadAttention":
                x = tokens(x)
                return self.layer(x, x, x, need_weights=False)[0]
            found: Tensor = self.layer(tokens(x) if name in ("linear", "layer_norm", "timm's Attention") else x)
            return found

    return Probe().eval()


def answers(peer: str) -> dict[str, float | None]:
    """What a peer counts of every probe: the share of the exact count, or operations per element; None: it fails."""
    import torch

    device, count = PEERS[peer]
    found: dict[str, float | None] = {}
    for name, macs in PROBES.items():
        with torch.device(device):
            model = probe(name)
        elements = 64 * (256 if name == "avg_pool2d" else 1024)
        try:
            found[name] = count(model, (1, 64, 32, 32))[0] / (macs or elements)
        except Exception:
            found[name] = None
    return found


def made(model: str, device: str) -> Any:
    """A model to count, on a device, in eval mode."""
    import torch

    what = MODELS[model]
    if isinstance(what, str):
        import timm

        with torch.device(device):
            return timm.create_model(what).eval()
    import archgraph
    from archgraph.spec.libraries import specs_folder

    file, variant = what
    return archgraph.build(archgraph.load(specs_folder() / file, variant), device=device, init=device != "meta").eval()


def main() -> None:
    """Time one peer: construction with the analysis, a fresh model for each; or ask it about single layers."""
    peer, model = sys.argv[1], sys.argv[2]
    warnings.filterwarnings("ignore")
    import torch

    from tools.bench.common import many
    from tools.torchvision_import import import_torchvision

    torch.set_num_threads(1)
    device, count = PEERS[peer]
    found: list[Counted] = []
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            import_torchvision()
            if model == "probes":
                result: dict[str, Any] = {"probes": answers(peer)}
            else:
                made(model, device)  # what is imported on the way is no part of an analysis
                rounds = int(sys.argv[3])
                seconds = many(
                    lambda: found.append(count(made(model, device), SHAPE)), rounds, warm=1 if rounds > 1 else 0
                )
                result = {"seconds": seconds, "macs": found[-1][0], "params": found[-1][1]}
    except ImportError as error:
        result = {"missing": str(error.name)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
