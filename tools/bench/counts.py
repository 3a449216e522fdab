"""What peers count on six models and why it differs, and how many candidates the compiled cost evaluates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import archgraph
from archgraph.analysis.cost import in_types, op_cost, totals
from archgraph.analysis.sizes import default_sizes
from archgraph.ir.graph import Graph
from archgraph.ops.base import Op
from archgraph.spec.libraries import specs_folder
from archgraph.spec.load import load
from tools.bench.common import CPU, Gate, Section, many, median, number
from tools.bench.peers import MODELS, PEERS, PROBES

#: File and variant of ours that is the model.
OURS = {
    "ViT-B/16": ("vit.yaml", "base"),
    "MaxViT-T": ("maxvit.yaml", "tiny_224"),
    "ResNet-50": ("resnet.yaml", "resnet50"),
    "MobileNetV2": ("mobilenet_v2.yaml", "mobilenet_v2"),
    "Agent-DeiT-T": ("agent-attention/deit.yaml", "deit_t"),
    "BiFormer-T": ("biformer.yaml", "tiny"),
}

#: Which question of `tools.bench.peers.PROBES` an op answers to.
KINDS = {
    "conv2d": "conv2d",
    "linear": "linear",
    "matmul": "matmul",
    "einsum": "einsum",
    "scaled_dot_product_attention": "attention",
    "layer_norm": "layer_norm",
    "batch_norm2d": "batch_norm2d",
    "relu": "relu",
    "relu6": "relu",
    "gelu": "gelu",
    "avg_pool2d": "avg_pool2d",
}


def ask(*arguments: str) -> dict[str, Any]:
    """The answer of `tools.bench.peers`, run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench.peers", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def work(graph: Graph) -> Counter[str]:
    """MACs by kind of contraction, and elements of the results of other kinds."""
    found: Counter[str] = Counter()
    for node in graph.nodes:
        if "unused" in node.flags:
            continue
        for callee in node.callees[-1:]:
            found.update({kind: n * int(node.count) for kind, n in work(callee).items()})
        if isinstance(node.op, Op) and node.op.op_name in KINDS:
            kind = KINDS[node.op.op_name]
            if kind == "attention" and len(node.inputs) > 3 and node.inputs[3] is not None:
                kind = "attention with a mask"
            if PROBES[kind] is None:
                found[kind] += int(node.types[0].numel)
            else:
                found[kind] += int(op_cost(node.op, in_types(graph, node), node.types).macs)
    return found


def reasons(macs: float, exact: int, parts: Counter[str], probes: dict[str, float | None]) -> str:
    """What the answers to the probes say of the difference, in units of 10⁶, and what they leave open."""
    said: list[tuple[float, str]] = []
    for kind, n in parts.items():
        counted = probes[kind]
        if counted is None:
            continue
        more = n * (counted if PROBES[kind] is None else counted - 1)
        if abs(more) >= 5e-5 * exact:
            said.append((more, f"{_signed(more)} {kind}"))
    left = macs - exact - sum(more for more, _ in said)
    words = [text for _, text in sorted(said, key=lambda pair: -abs(pair[0]))]
    if abs(left) >= 5e-5 * exact:
        words.append(f"{_signed(left)} not told by single layers")
    return ", ".join(words) or "exact" if macs == exact else ", ".join(words) or "below 0.005 %"


def _signed(n: float) -> str:
    return f"{'−' if n < 0 else '+'}{number(abs(n) / 1e6)} M"


def six_models() -> tuple[Section, Section]:
    """What each peer counts on each model, and what it counts of single layers."""
    probes = {peer: ask(peer, "probes") for peer in PEERS}
    rows: list[list[object]] = []
    for model, (file, variant) in OURS.items():
        spec = load(specs_folder() / file, variant)
        graph = spec.graph(at=default_sizes(spec))
        exact, params = int(totals(graph).macs), int(totals(graph).params)  # type: ignore[arg-type]
        rows.append([f"**{model}**", "archgraph", exact, 1.0, params, ""])
        parts = work(graph)
        for peer in PEERS:
            found = ask(peer, model, "1")
            if "missing" in found:
                rows.append(["", peer, f"not installed ({found['missing']})", "", "", ""])
                continue
            macs = float(found["macs"])
            why = reasons(macs, exact, parts, probes[peer]["probes"])
            theirs = int(found["params"])
            if theirs != params:
                why += f"; params off by {theirs - params:+,}"
            rows.append(["", peer, round(macs), macs / exact, theirs, why])
    timm = ", ".join(model for model, what in MODELS.items() if isinstance(what, str))
    counts = Section(
        "What others count, and why it differs",
        ("model", "tool", "MACs", "of the exact count", "params", "difference in MACs, by kind of layer"),
        rows,
        (),
        (
            f"Models are timm's ({timm}), or built by archgraph where timm has none; 224 by 224, in eval mode,",
            "each tool and model in a process of its own. A difference is told by kind: the work of that kind in the",
            "model, times what the tool counts of a single such layer (next table) less what is exact. What single",
            "layers don't tell are rules for whole modules (a tool with one for an attention module drops what is",
            "inside it), functions that are counted or not where a module of that kind would be (activations), and",
            "pooling and arithmetic of kinds that were not asked. On the CPU torch's kernel of attention, which is not",
            "counted, refuses masks of three axes and operands whose last axis is not the innermost: then plain",
            "products run, which are (MaxViT, Agent-DeiT).",
        ),
    )
    asked = [
        [kind, *("fails" if (x := probes[peer].get("probes", {}).get(kind)) is None else x for peer in PEERS)]
        for kind in PROBES
    ]
    layers = Section(
        "What they count of a single layer",
        ("layer", *PEERS),
        asked,
        (),
        (
            "Of contractions the share of the exact count; of others operations per element of the result, where 0 is",
            "exact, since these are no multiply-accumulates.",
        ),
    )
    return counts, layers


def candidates(quick: bool) -> Section:
    """Candidates a second of ViT in six hyperparameters and HorNet in eight, one core."""
    rng = np.random.default_rng(0)
    n = 2**17 if quick else 2**20

    def of(low: int, high: int, step: int = 1) -> Any:
        return step * rng.integers(low, high, n)

    heads, patch = of(1, 17), of(4, 33)
    spaces: dict[str, tuple[dict[str, Any], float]] = {
        "vit": (
            {
                "dim": heads * of(1, 97),
                "depth": of(1, 49),
                "num_heads": heads,
                "patch_size": patch,
                "image_size": patch * of(1, 33),
                "mlp_ratio": of(1, 9),
            },
            10e6,
        ),
        "hornet": (
            {
                "dim": of(1, 33, 16),
                "depths": rng.integers(1, 25, (n, 4)),
                "H": of(1, 17, 32),
                "W": of(1, 17, 32),
                "num_classes": of(1, 2000),
            },
            3e6,
        ),
    }
    rows: list[list[object]] = []
    gates = []
    for name, (columns, least) in spaces.items():
        f = archgraph.cost_function(name, over=list(columns))
        call: Callable[[], Any] = partial(f, **columns)
        valid = call()["valid"].mean()
        rate = n / median(many(call, 3 if quick else 9, warm=1, clock=CPU))
        rows.append([name, ", ".join(f.columns), rate / 1e6, f"{valid:.1%}"])
        gates.append(Gate(f"{name}, nanoseconds a candidate", 1e9 / rate, 1e9 / least, " ns"))
    return Section(
        "Candidates a second",
        ("spec", "hyperparameters", "millions a CPU second", "valid of those drawn"),
        rows,
        gates,
        ("Params, MACs, FLOPs, activation bytes and validity of each, exact, by `cost_function`; one core.",),
    )
