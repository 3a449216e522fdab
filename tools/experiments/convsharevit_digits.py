"""Do shared convolutions learn attention, and what does a 4f device leave of it?

    python -m tools.experiments.convsharevit_digits

Writes docs/experiments/convsharevit-digits.md. Three networks of token planes are trained on handwritten
digits: ConvShareViT with valid kernels as large as a token, the same with padded kernels, and a plain vision
transformer of about the size of the first. For each: held-out accuracy, what its attention does, and its
accuracy through simulated devices of several bit depths, as trained and after a short training through the
device itself. About ten minutes on two cores; ``--quick`` shows that it runs.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archgraph.ir.dim import sym
from archgraph.lower import fx
from archgraph.optical.simulation import compare, on_device
from archgraph.search.data import Dataset, load_data
from archgraph.search.objectives.training import train
from archgraph.search.sections import TRAIN
from archgraph.spec.load import load

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "experiments" / "convsharevit-digits.md"

COMMON: Mapping[str, Any] = {"image_size": 16, "in_chans": 1, "embed_kernel": 17, "num_classes": 10, "num_heads": 2}
#: Name, variant, and what is set; the plain transformer is as deep as it takes to be of the first one's size.
NETWORKS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "share-valid": ("share-valid-full", {"depth": 2, "mlp_form": "shared_valid"}),
    "share-same": ("share-same-k7", {"depth": 2, "mlp_form": "shared_same"}),
    "plain ViT": ("vit-d64", {"depth": 4, "patch_size": 4}),
}
BITS = (2, 3, 4, 6, 8)
AWARE = (3, 4, 6)


@dataclass
class Result:
    """What is said of one network."""

    params: int
    macs: int
    accuracy: float
    uniform: float
    entropy: float
    distance: float
    devices: dict[int, float]
    aware: dict[int, float]
    maps: Tensor
    curve: list[float]


def settings(epochs: int, **changes: Any) -> dict[str, Any]:
    """Training settings: AdamW, cosine, shifts of a pixel."""
    return {**TRAIN.defaults(), "epochs": epochs, "lr": 2e-3, "weight_decay": 0.05, "shift": 1, **changes}


def device(bits: int) -> str:
    """A device with so many bits everywhere, and a camera of 10,000 electrons."""
    return f"theoretical-2MHz:input_bits={bits},kernel_bits={bits},camera_bits={bits}"


def build(variant: str, changes: Mapping[str, Any], seed: int) -> tuple[nn.Module, Any]:
    """The model, and the spec that it is of."""
    spec = load("convsharevit", variant, **COMMON, **changes)
    return fx.build(spec.graph(at={"image": (sym("B"), 1, 16, 16)}), seed=seed), spec


def attention(model: nn.Module, x: Tensor, heads: int) -> Tensor:
    """Attention of all heads of all blocks, [blocks * heads, B, N, N], from the queries and keys that modules give."""
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.__setitem__(name, out.detach()))
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in ("q", "k") and not name.endswith(".y")
    ]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    found = []
    for name in sorted(n for n in seen if n.endswith(".q")):
        q, k = (seen[n].flatten(2) for n in (name, f"{name[:-1]}k"))
        parts = heads if ".mixed." in name else 1
        for a, b in zip(q.chunk(parts, -1), k.chunk(parts, -1), strict=True):
            found.append(torch.softmax(a @ b.transpose(1, 2) / math.sqrt(a.shape[-1]), -1))
    return torch.stack(found)


class _Uniform(nn.Module):
    """Queries of zero: every key gets the same weight."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x) * 0
        return out


def without_attention(model: nn.Module) -> nn.Module:
    """A copy in which all tokens attend to all alike."""
    copied = copy.deepcopy(model)
    for name, module in list(copied.named_modules()):
        if name.rpartition(".")[2] == "q":
            parent = copied.get_submodule(name.rpartition(".")[0])
            parent.add_module("q", _Uniform(module))
    return copied


def accuracy(model: nn.Module, data: Dataset) -> float:
    """Share of held-out samples whose largest score is the label."""
    model.eval()
    with torch.no_grad():
        hits = [(model(x).argmax(1) == y).float() for x, y in batches(data)]
    return float(torch.cat(hits).mean())


def batches(data: Dataset) -> list[tuple[Tensor, Tensor]]:
    return list(zip(data.x_test.split(60), data.y_test.split(60), strict=True))


def statistics(maps: Tensor, side: int) -> tuple[float, float]:
    """Entropy of the rows over that of uniform ones, and mean distance, in tokens, of what is attended to."""
    entropy = -(maps * maps.clamp_min(1e-12).log()).sum(-1).mean() / math.log(maps.shape[-1])
    at = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), -1).flatten(0, 1).float()
    patches = maps[..., 1:, 1:]
    patches = patches / patches.sum(-1, keepdim=True)
    return float(entropy), float((patches * torch.cdist(at, at)).sum(-1).mean())


def run(name: str, data: Dataset, epochs: int, tuning: int, seed: int) -> Result:
    """Train, look at the attention, put it on devices."""
    variant, changes = NETWORKS[name]
    model, spec = build(variant, changes, seed)
    curve: list[float] = []
    train(model, data, settings(epochs), seed, lambda _epoch, found: curve.append(found["accuracy"]))
    model.eval()
    reached = accuracy(model, data)
    print(f"{name}: {reached:.1%} after {epochs} epochs", flush=True)
    maps = attention(model, data.x_test[:60], COMMON["num_heads"])
    side = math.isqrt(maps.shape[-1] - 1)
    entropy, distance = statistics(maps, side)
    compared = compare(model, [device(b) for b in BITS], batches(data), seed)
    aware = {}
    for bits in AWARE:
        optical = on_device(model, device(bits))
        train(optical, data, settings(tuning, lr=5e-4, shift=0), seed, lambda _epoch, _found: None)
        torch.manual_seed(seed)
        aware[bits] = accuracy(optical, data)
        print(f"{name} at {bits} bits: {aware[bits]:.1%} after training through the device", flush=True)
    report = spec.graph(at={"image": (1, 1, 16, 16)})
    from archgraph.analysis.cost import totals

    found = totals(report)
    return Result(
        int(found.params),
        int(found.macs),
        reached,
        accuracy(without_attention(model), data),
        entropy,
        distance,
        {b: c.accuracy or 0.0 for b, c in zip(BITS, compared, strict=True)},
        aware,
        maps[:, :4, 0, 1:].reshape(-1, 4, side, side),
        curve,
    )


def draw(results: Mapping[str, Result], data: Dataset, folder: Path) -> None:
    """Attention of the class token over four digits, and accuracy over bits."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(results) + 1, 4, figsize=(7, 1.8 * (len(results) + 1)), layout="constrained")
    for k in range(4):
        axes[0][k].imshow(data.x_test[k, 0], cmap="gray")
        for row, (name, result) in enumerate(results.items(), 1):
            axes[row][k].imshow(result.maps.mean(0)[k], cmap="magma")
            if k == 0:
                axes[row][k].set_ylabel(name)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.suptitle("class token: where it looks, mean over heads and blocks")
    figure.savefig(folder / "convsharevit-attention.png", dpi=100)
    pyplot.close(figure)
    figure, axis = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for colour, (name, result) in enumerate(results.items()):
        axis.axhline(result.accuracy, color=f"C{colour}", alpha=0.4, linestyle=":")
        axis.plot(list(result.devices), list(result.devices.values()), "o-", color=f"C{colour}", label=name)
        aware = f"{name}, trained through the device"
        axis.plot(list(result.aware), list(result.aware.values()), "s--", color=f"C{colour}", label=aware)
    axis.set(xlabel="bits of input, kernel and camera", ylabel="held-out accuracy")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    figure.savefig(folder / "convsharevit-bits.png", dpi=100)
    pyplot.close(figure)


def page(results: Mapping[str, Result], epochs: int, tuning: int, seed: int) -> str:
    """The result page but for its reading, which `reading` gives."""
    lines = [
        "# ConvShareViT on handwritten digits",
        "",
        "Regenerate with `python -m tools.experiments.convsharevit_digits`. "
        f"scikit-learn's digits at 16 × 16 (1,437 to train on, 360 held out), {epochs} epochs, seed {seed}; "
        "17 tokens of 8 × 8. Devices: `theoretical-2MHz` with the bits given, signed inputs split, a camera of 10,000 "
        f"electrons; training through the device is {tuning} more epochs.",
        "",
        "| network | params | MACs | accuracy | with uniform attention | entropy of attention | distance, tokens |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, r in results.items():
        lines.append(
            f"| {name} | {r.params:,} | {r.macs:,} | {r.accuracy:.1%} | {r.uniform:.1%} | {r.entropy:.2f} "
            f"| {r.distance:.2f} |"
        )
    lines += [
        "",
        "*With uniform attention*: the trained network with every query set to zero. *Entropy* is that of the rows "
        "over that of uniform ones; *distance* is the mean between a query's token and what it attends to.",
        "",
        "![Attention of the class token](images/convsharevit-attention.png)",
        "",
        "| network | "
        + " | ".join(f"{b} bits" for b in BITS)
        + " | "
        + " | ".join(f"{b} bits, trained through" for b in AWARE)
        + " |",
        "|---|" + "---:|" * (len(BITS) + len(AWARE)),
    ]
    for name, r in results.items():
        cells = [f"{r.devices[b]:.1%}" for b in BITS] + [f"{r.aware[b]:.1%}" for b in AWARE]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "![Accuracy over bits](images/convsharevit-bits.png)", "", "## Reading", "", *reading(results)]
    return "\n".join(lines) + "\n"


def reading(results: Mapping[str, Result]) -> list[str]:
    """What the numbers say beside the paper's claim, drawn from the numbers themselves."""
    valid, same = results["share-valid"], results["share-same"]
    loss = {name: r.accuracy - r.uniform for name, r in results.items()}
    uses = ", ".join(f"{name} {loss[name]:+.1%}" for name in results)
    claim = (
        "The paper says that networks with shared valid kernels learn attention as a transformer does, and that those "
        "with padded kernels do not and work as convolutional networks. "
    )
    if loss["share-valid"] > 2 * max(loss["share-same"], 0.0) + 0.02:
        found = "Here too: taking the attention away costs the valid form far more than the padded one"
    elif loss["share-same"] > 2 * max(loss["share-valid"], 0.0) + 0.02:
        found = "Not here: taking the attention away costs the padded form more than the valid one"
    else:
        found = (
            "On this small task the two can't be told apart by it: taking the attention away costs both about the same"
        )
    better = "more" if valid.accuracy > same.accuracy else "less"
    return [
        claim + f"{found} (accuracy lost with uniform attention: {uses}). "
        f"The valid form is {better} accurate ({valid.accuracy:.1%} against {same.accuracy:.1%}), with "
        f"{valid.params / same.params:.1f} times the parameters.",
        "",
        "Digits are easy and images this small leave little to attend to; this is one seed of one small task, not a "
        "test of the claim on CIFAR-100.",
    ]


def main() -> None:
    """Run it all and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--tuning", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one epoch, nothing written")
    options = parser.parse_args()
    if options.quick:
        options.epochs = options.tuning = 1
    data = load_data({"kind": "digits", "held_out": 0.2, "seed": 0, "size": 16, "channels": 1}, ROOT)
    results = {name: run(name, data, options.epochs, options.tuning, options.seed) for name in NETWORKS}
    if options.quick:
        print(json.dumps({name: [r.accuracy, r.uniform, r.devices, r.aware] for name, r in results.items()}))
        return
    folder = PAGE.parent / "images"
    folder.mkdir(parents=True, exist_ok=True)
    draw(results, data, folder)
    PAGE.write_text(page(results, options.epochs, options.tuning, options.seed), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
