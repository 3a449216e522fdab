"""One peer that counts MACs, in a process of its own: ``python -m tools.bench.peers NAME ROUNDS`` prints JSON.

Several of them patch torch for good, so they can't share a process.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

SHAPE = (1, 3, 224, 224)

Counted = tuple[float, int]


def _params(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


def _flop_counter(model: Any, device: str) -> Counted:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(SHAPE, device=device))
    return counter.get_total_flops() / 2, _params(model)


def _fvcore(model: Any) -> Counted:
    import torch
    from fvcore.nn import FlopCountAnalysis

    found = FlopCountAnalysis(model, torch.zeros(SHAPE))
    found.unsupported_ops_warnings(False)
    found.uncalled_modules_warnings(False)
    return found.total(), _params(model)


def _ptflops(model: Any) -> Counted:
    from ptflops import get_model_complexity_info

    macs, params = get_model_complexity_info(
        model, SHAPE[1:], as_strings=False, print_per_layer_stat=False, verbose=False
    )
    return macs, params


def _thop(model: Any) -> Counted:
    import torch
    from thop import profile

    macs, params = profile(model, inputs=(torch.zeros(SHAPE),), verbose=False)
    return macs, int(params)


def _calflops(model: Any) -> Counted:
    from calflops import calculate_flops

    _, macs, params = calculate_flops(
        model=model, input_shape=SHAPE, output_as_string=False, print_results=False, print_detailed=False
    )
    return macs, int(params)


def _torchinfo(model: Any) -> Counted:
    from torchinfo import summary

    found = summary(model, input_size=SHAPE, verbose=0, device="cpu")
    return found.total_mult_adds, found.total_params


#: Device of the model, and how it is counted.
PEERS: dict[str, tuple[str, Callable[[Any], Counted]]] = {
    "FlopCounterMode, meta": ("meta", lambda model: _flop_counter(model, "meta")),
    "FlopCounterMode, cpu": ("cpu", lambda model: _flop_counter(model, "cpu")),
    "fvcore": ("cpu", _fvcore),
    "ptflops": ("cpu", _ptflops),
    "torchinfo": ("cpu", _torchinfo),
    "calflops": ("cpu", _calflops),
    "thop (ultralytics)": ("cpu", _thop),
}


def main() -> None:
    """Time one peer: construction with the analysis, a fresh model for each."""
    name, rounds = sys.argv[1], int(sys.argv[2])
    warnings.filterwarnings("ignore")
    import torch

    from tools.bench.common import many
    from tools.torchvision_import import import_torchvision

    torch.set_num_threads(1)
    device, count = PEERS[name]
    found: list[Counted] = []

    def once() -> None:
        with torch.device(device):
            model = timm.create_model("vit_base_patch16_224").eval()
        found.append(count(model))

    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            import_torchvision()
            import timm

            seconds = many(once, rounds, warm=1)
    except ImportError as error:
        print(json.dumps({"missing": str(error.name)}))
        return
    macs, params = found[-1]
    print(json.dumps({"seconds": seconds, "macs": macs, "params": params}))


if __name__ == "__main__":
    main()
