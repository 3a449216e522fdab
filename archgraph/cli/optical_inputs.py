"""What ``archgraph optical`` runs: a model with weights, and batches of a photograph or of data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from archgraph.cli.building import Job
from archgraph.cli.console import fail
from archgraph.ir.dim import sym

if TYPE_CHECKING:
    from torch import Tensor, nn

    from archgraph.spec.load import Spec

#: Samples that run together.
_BATCH: Final = 50


def model_and_batches(
    spec: Spec,
    graph: str | None,
    at: Mapping[str, Any],
    photo: str | None,
    data: str | None,
    samples: int,
    weights: Path | None,
    reference: str | None,
    seed: int,
) -> tuple[nn.Module, list[tuple[Tensor, Tensor | None]]]:
    """A model with its weights, and what it is fed.

    Raises
    ------
    SpecError
        For what can't be built or loaded, and inputs that don't fit.
    """
    if (photo is None) == (data is None):
        fail("input/none", "one of --input and --data says what is computed", hint="--input flower, or --data digits")
    if photo is not None:
        job = Job(spec, graph, at, 0)
        job.choose_input(photo)
        model = job.model(seed, weights, reference)
        inputs = job.inputs(seed)
        if len(inputs) != 1:
            fail("input/several", f"the graph takes {', '.join(inputs)}", expected="one input")
        return model, [(next(iter(inputs.values())), None)]
    assert data is not None
    x, y = _data(data, samples, seed)
    blocks = spec.block(graph).inputs
    if len(blocks) != 1:
        fail("input/several", f"the graph takes {', '.join(blocks)}", expected="one input")
    (name,) = blocks
    job = Job(spec, graph, {name: (sym("samples"), *x.shape[1:]), **at}, 0)
    wanted = job.graph.inputs[0][1].shape[1:]
    if tuple(x.shape[1:]) != tuple(wanted):
        fail("data/shape", "the data does not fit the graph", expected=str(list(wanted)), hint="set sizes with --set")
    model = job.model(seed, weights, reference)
    starts = range(0, len(x), _BATCH)
    return model, [(x[k : k + _BATCH], y[k : k + _BATCH]) for k in starts]


def _data(name: str, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Held-out samples and labels: a fifth of the data."""
    from archgraph.search.data.base import load_data

    kind = {"kind": "digits"} if name == "digits" else {"kind": "arrays", "path": name}
    found = load_data({**kind, "held_out": 0.2, "seed": seed}, Path())
    return found.x_test[:samples], found.y_test[:samples]
