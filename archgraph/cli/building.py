"""What ``archgraph build`` does: sizes, module, weights, a forward pass, a file."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from archgraph.analysis.sizes import default_sizes, with_sizes
from archgraph.cli.console import console, fail
from archgraph.ir.graph import Graph
from archgraph.ir.types import TensorType
from archgraph.report.numbers import human_bytes
from archgraph.report.report import Report, report_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from archgraph.spec.load import Spec

#: Height and width of a photograph where the spec leaves them open.
SIDE: Final = 224
_TOP: Final = 5


class Job:
    """One build. Sizes are those of the report, so that the module and the numbers are of one graph."""

    def __init__(self, spec: Spec, graph: str | None, at: Mapping[str, Any], depth: int) -> None:
        self.spec = with_sizes(spec, graph, at)
        self.name = graph
        self.asked = dict(at)
        self.at = default_sizes(spec, graph, at)
        self.depth = depth
        self.photo: Any = None
        self.photo_name = ""
        self.photo_input = ""
        self.target: Path | None = None

    @cached_property
    def graph(self) -> Graph:
        return self.spec.graph(self.name, self.at)

    @cached_property
    def report(self) -> Report:
        return report_of(self.graph, self.spec, depth=self.depth)

    def choose_input(self, text: str) -> None:
        """Feed a photograph, to the input that it is named with or the only one that takes pictures.

        Raises
        ------
        SpecError
            If there is no such photograph, or no such input.
        """
        from archgraph.cli.photo import open_photo

        name, equals, photo = text.partition("=")
        inputs = dict(self.graph.inputs)
        if not equals or name not in inputs:
            name, photo = "", text
        fitting = [key for key, t in inputs.items() if _takes_pictures(t)]
        if name and name not in fitting:
            fail("input/type", f"`{name}` takes no pictures: {inputs[name]}", expected="[B, 3, H, W]")
        if not name and len(fitting) != 1:
            known = ", ".join(f"{key} {t}" for key, t in inputs.items())
            hint = f"name the input: --input {fitting[0]}={photo}" if fitting else None
            fail(
                "input/type",
                "several inputs take pictures" if fitting else "no input takes pictures, [B, 3, H, W]",
                expected=f"one of {known}",
                hint=hint,
            )
        self.photo = open_photo(photo)
        self.photo_name, self.photo_input = photo, name or fitting[0]
        t = inputs[self.photo_input]
        if not all(isinstance(size, int) for size in t.shape):
            sizes = [
                d if isinstance(d, int) else default for d, default in zip(t.shape, (1, 3, SIDE, SIDE), strict=True)
            ]
            self.at = default_sizes(self.spec, self.name, {**self.asked, self.photo_input: tuple(sizes)})
            del self.graph

    def choose_target(self, path: Path) -> None:
        """Where to write the weights; what can't work is refused before the work.

        Raises
        ------
        SpecError
            If the path is a folder, or in none.
        """
        if path.is_dir():
            fail("save/folder", f"{path} is a folder", expected="a file to write")
        if not path.parent.is_dir():
            fail("save/folder", f"there is no folder {path.parent}")
        self.target = path

    def run(self, seed: int, weights: Path | None, reference: str | None) -> dict[str, Any]:
        """Build, load, save, run; returns what happened as plain values.

        Raises
        ------
        SpecError
            For what can't be built, and weights that don't fit.
        """
        found: dict[str, Any] = {"seed": seed}
        with _working("importing torch"):
            import torch
        start = time.perf_counter()
        model = self._built(seed, weights is None)
        found["build_seconds"] = round(time.perf_counter() - start, 3)
        found["tensors"] = len(model.state_dict())
        if weights is not None:
            found["weights"] = {"file": str(weights), "reference": self._load(model, weights, reference)}
        if self.target is not None:
            from archgraph.lower.save import save_state

            metadata = {"spec": self.spec.name, "variant": self.spec.variant or "", "seed": str(seed)}
            found["saved"] = {"file": str(self.target), "tensors": save_state(model, self.target, metadata)}
        if self.photo is not None:
            inputs = self.inputs(seed)
            start = time.perf_counter()
            with _working("running"), torch.inference_mode():
                result = model(**inputs)
            found["forward_seconds"] = round(time.perf_counter() - start, 3)
            t = dict(self.graph.inputs)[self.photo_input]
            found["photo"] = {
                "name": self.photo_name,
                "size": [self.photo.width, self.photo.height],
                "input": self.photo_input,
                "shape": list(t.shape),
            }
            made = [name for name, _ in self.graph.inputs if name != self.photo_input]
            if made:
                found["photo"]["random_inputs"] = made
            values = result if isinstance(result, dict) else {self.graph.outputs[0][0]: result}
            found["results"] = {name: _described(value) for name, value in values.items()}
        return found

    def model(self, seed: int, weights: Path | None, reference: str | None) -> nn.Module:
        """The module in eval mode, its weights drawn from a seed or loaded.

        Raises
        ------
        SpecError
            For what can't be built, and weights that don't fit.
        """
        model = self._built(seed, weights is None)
        if weights is not None:
            self._load(model, weights, reference)
        return model

    def _built(self, seed: int, init: bool) -> nn.Module:
        from archgraph.lower import fx
        from archgraph.lower.plan import LoweringError

        self._check_memory()
        with _working(f"building {self.spec.label}"):
            try:
                return fx.build(self.graph, seed=seed, init=init).eval()
            except LoweringError as error:
                fail("build/lowering", str(error), hint="sizes are given with --at, hyperparameters with --set")

    def _load(self, model: nn.Module, file: Path, reference: str | None) -> str | None:
        from archgraph.lower.weights import WeightsError, load_checkpoint

        block = self.spec.block(self.name)
        try:
            used = load_checkpoint(model, file, self.spec.file, block, cls=reference, variant=self.spec.variant)
        except WeightsError as error:
            fail("weights/fit", str(error))
        return None if used is None else used.name

    def inputs(self, seed: int) -> dict[str, Any]:
        """The photograph, and seeded random values for what else the graph takes."""
        import torch

        from archgraph.cli.photo import prepare

        generator = torch.Generator().manual_seed(seed)
        found: dict[str, Any] = {}
        for name, t in self.graph.inputs:
            if not all(isinstance(size, int) for size in t.shape):
                fail("input/size", f"the size of `{name}` is open: {t}", hint=f"say it with --at {name}=…")
            shape: Any = t.shape
            if name == self.photo_input:
                value = prepare(self.photo, *shape[1:]).expand(shape)
            elif t.dtype in ("float", "float32", "float64"):
                value = torch.randn(shape, generator=generator)
            else:
                from archgraph.lower.fx import torch_dtype

                value = torch.zeros(shape, dtype=torch_dtype(t.dtype))
            head, _, rest = name.partition(".")
            if rest:
                found.setdefault(head, []).append(value)
            else:
                found[head] = value
        return found

    def _check_memory(self) -> None:
        """Refuse what the machine can't hold before torch tries to."""
        needed = self.report.weight_bytes
        if self.photo is not None:
            needed = needed + self.report.activation_bytes
        have = _memory()
        if isinstance(needed, int) and have is not None and needed > have:
            fail(
                "build/memory",
                f"weights and activations take {human_bytes(needed)}, and this machine has {human_bytes(have)}",
                hint="`archgraph report` needs no memory for them",
            )


def _memory() -> int | None:
    """Bytes of the machine's memory, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _takes_pictures(t: TensorType) -> bool:
    if t.rank != 4 or t.dtype not in ("float", "float32"):
        return False
    _, channels, *sides = t.shape
    return (not isinstance(channels, int) or channels in (1, 3)) and 1 not in sides


def _described(value: Tensor) -> dict[str, Any]:
    """The shape of an output; its highest scores where it is a vector of them, else its range."""
    import torch

    found: dict[str, Any] = {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    if value.dim() == 2 and value.shape[0] == 1 and value.shape[1] > 1 and value.is_floating_point():
        scores, classes = value[0].float().topk(min(_TOP, value.shape[1]))
        shares = torch.softmax(value[0].float(), dim=0)[classes]
        found["top"] = [
            {"index": int(k), "score": round(float(s), 6), "softmax": round(float(p), 6)}
            for k, s, p in zip(classes, scores, shares, strict=True)
        ]
    elif value.is_floating_point() and value.numel():
        low, high = value.float().aminmax()
        found["range"] = [round(float(low), 6), round(float(high), 6)]
    return found


@contextmanager
def _working(what: str) -> Iterator[None]:
    """A spinner on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{what} …"):
        yield


def show(report: Report, found: Mapping[str, Any]) -> None:
    """The report of a build, and below it what happened."""
    from rich.table import Table
    from rich.text import Text

    out = console()
    out.print(report)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")

    def line(title: str, text: str) -> None:
        table.add_row(title, Text(text))

    weights = found.get("weights")
    source = f"seed {found['seed']}" if weights is None else f"{weights['file']}, {weights['reference'] or 'our keys'}"
    line("built", f"{found['tensors']} tensors in {found['build_seconds']:.2f} s, weights from {source}")
    if "saved" in found:
        line("saved", f"{found['saved']['tensors']} tensors in {found['saved']['file']}")
    if "photo" in found:
        photo = found["photo"]
        width, height = photo["size"]
        line("photo", f"{photo['name']}, {width} × {height}, as {photo['input']} {photo['shape']}")
        if "random_inputs" in photo:
            line("random", ", ".join(photo["random_inputs"]))
        line("forward", f"{found['forward_seconds']:.2f} s")
    for name, result in found.get("results", {}).items():
        line(name, f"{result['shape']} {result['dtype']}")
        if "range" in result:
            line("", "from {:.4g} to {:.4g}".format(*result["range"]))
        for k, top in enumerate(result.get("top", ())):
            lead = "top scores " if k == 0 else "           "
            line("", f"{lead} class {top['index']:>5}   {top['score']:>9.4f}   softmax {top['softmax']:.4f}")
    if weights is None and "photo" in found:
        line("", "the weights are untrained: these scores show that the model runs, not what is in the picture")
    out.print(table)
