"""MACs against `FlopCounterMode` on the meta device: of every op, and of every configuration of every shipped spec.

Equal to the unit, but for the table in `tests/counter.py`. No configuration is left out.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch.utils.flop_counter import FlopCounterMode

from archgraph.analysis.cost import totals
from archgraph.ir.canon import canonical_hash
from archgraph.ir.graph import Graph
from archgraph.spec.load import loads
from archgraph.spec.spec_files import parse_file
from tests.counter import counted, misses, shortened
from tests.properties import strategies as draws
from tests.zoo import configurations, spec_ids

#: Where a loop along the sequence makes thousands of small calls: a few of its turns.
LENGTHS: dict[str, dict[str, Any]] = {
    "lightning-attention": {"lm": {"input_ids": (1, 512)}},
    "titans": {"mac": {"ids": (1, 129)}, "lm": {"ids": (1, 160)}, "memory_alone": {"seq": (1, 256, 384)}},
}


def agree(graph: Graph, label: str) -> None:
    """Our count, less what the counter is known to miss, is the counter's."""
    missed = misses(graph)
    assert totals(graph).macs - missed.total() == counted(graph), f"{label}, known to be missed: {dict(missed)}"


@pytest.mark.parametrize("name", draws.drawable())
def test_macs_of_an_op(name: str) -> None:
    @settings(max_examples=10, database=None, suppress_health_check=list(HealthCheck))
    @given(draws.graphs(max_nodes=2, only=[name]))
    def check(graph: Graph) -> None:
        agree(graph, str(graph))

    check()


MISSED = {
    "matmul": "{op: matmul, in: [x, v]}",
    "bilinear": "{op: bilinear, in: [x, x], out_features: 3}",
    "einsum": "{op: einsum, in: [w, w], pattern: 'b i j, b k j -> b i k'}",
    "optical_conv_transpose2d": "{op: optical_conv_transpose2d, in: i, out_channels: 6, kernel_size: 3, stride: 2}",
}


@pytest.mark.parametrize("name", MISSED)
def test_the_counter_still_misses(name: str) -> None:
    """A torch that counts more is welcome: then a line of the table goes."""
    inputs = "{x: [2, 4, 5], v: [5], w: [2, 3, 1], i: [2, 4, 6, 6]}"
    graph = loads(f"archgraph: 1\nname: g\ninputs: {inputs}\ngraph:\n  y: {MISSED[name]}\n").graph()
    assert set(misses(graph)) == {name}
    assert counted(graph) != totals(graph).macs
    agree(graph, name)


def test_the_counter_sees_attention_as_one_kernel_on_meta_alone() -> None:
    """Why the oracle is the meta device."""
    found = []
    for device in ("meta", "cpu"):
        q = torch.zeros(1, 2, 8, 4, device=device)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            torch.nn.functional.scaled_dot_product_attention(q, q, q)
        found.append(counter.get_total_flops() // 2)
    assert found == [2 * 8 * 8 * (4 + 4), 0]


HEAVY = {"lightning-attention", "maxvit", "overlock", "relationnet2", "titans"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in HEAVY else ()) for n in spec_ids()])
def test_macs_of_a_spec(name: str) -> None:
    """The first configuration of each file, every turn of every loop."""
    first = next(configurations(spec_ids()[name], LENGTHS.get(name)))
    agree(first.graph, first.label)


@pytest.mark.slow
@pytest.mark.parametrize("name", spec_ids())
def test_macs_of_every_configuration(name: str) -> None:
    """Each distinct one, with one turn of every chain; those that then are equal up to names are counted once."""
    seen: dict[str, str] = {}
    for label, graph in configurations(spec_ids()[name], LENGTHS.get(name)):
        short = shortened(graph)
        if seen.setdefault(canonical_hash(short), label) == label:
            agree(short, label)
    assert seen


@pytest.mark.parametrize("name", spec_ids())
def test_no_variant_graph_or_claim_is_left_out(name: str) -> None:
    path = spec_ids()[name]
    file = parse_file(path)
    labels = [label for label, _ in configurations(path, LENGTHS.get(name))]
    assert len(labels) == len(set(labels))
    plain = [label.partition(": ") for label in labels if not label.startswith("claim ")]
    assert {variant for variant, _, _ in plain} - {"defaults"} == set(file.variants)
    assert {graph for _, _, graph in plain} == set(file.graphs)
    assert len(labels) - len(plain) == len(file.claims or ())
