"""Making modules: emission against construction and tracing of timm's, and real weights against `timm.create_model`."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

import archgraph
from archgraph.lower.fx import emit
from archgraph.spec.load import load
from tools.bench.common import Gate, Section, in_turns, median, ratio
from tools.torchvision_import import import_torchvision

#: Our name and variant, and timm's.
MODELS = {
    "ResNet-50": ("resnet", "resnet50", "resnet50"),
    "ViT-B/16": ("vit", "base", "vit_base_patch16_224"),
}


def run(quick: bool) -> Section:
    """Both models, both ways."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    import_torchvision()
    import timm

    rows: list[list[object]] = []
    gates: list[Gate] = []
    for title, (name, variant, theirs) in MODELS.items():
        size = (1, 3, 224, 224)
        (input_name,) = load(name, variant).block().inputs
        graph = load(name, variant).graph(at={input_name: size})

        def traced(theirs: str = theirs) -> object:
            with torch.device("meta"):
                model = timm.create_model(theirs)
            return torch.fx.symbolic_trace(model)

        def constructed(theirs: str = theirs) -> object:
            with torch.device("meta"):
                return timm.create_model(theirs)

        meta: dict[str, Callable[[], object]] = {
            "ours": lambda graph=graph: emit(graph),  # type: ignore[misc]
            "construction and trace": traced,
            "construction": constructed,
        }
        real: dict[str, Callable[[], object]] = {
            "ours": lambda name=name, variant=variant: archgraph.build(name, variant),  # type: ignore[misc]
            "timm": lambda theirs=theirs: timm.create_model(theirs),  # type: ignore[misc]
        }
        rounds = 5 if quick else 25
        on_meta = in_turns(meta, rounds, warm=2)
        with_weights = in_turns(real, 3 if quick else 11)
        for ours, other, label in (
            (on_meta["ours"], on_meta["construction and trace"], "on meta, against construction and `symbolic_trace`"),
            (on_meta["ours"], on_meta["construction"], "on meta, against construction alone"),
            (with_weights["ours"], with_weights["timm"], "real weights, against `timm.create_model`"),
        ):
            middle, low, high = ratio(ours, other)
            rows.append([title, label, median(ours) * 1e3, median(other) * 1e3, middle, f"{low:.3f} to {high:.3f}"])
            if label != "on meta, against construction alone":
                gates.append(Gate(f"{title}, {label}", median(ours) / median(other), 1.0))
    return Section(
        "Making modules",
        ("model", "what", "ours, CPU ms", "theirs, CPU ms", "median ratio of pairs", "95 % interval"),
        rows,
        gates,
        (
            "Ours on meta goes from the typed graph to fx graphs and modules; with real weights from the spec's name",
            "to a module whose weights are drawn.",
        ),
    )
