"""The listing of a graph: what stands in it, each distinct graph once, readable names."""

from __future__ import annotations

from hypothesis import given, settings

from archgraph.ir.graph import Graph
from archgraph.ir.types import Layout, TensorType
from tests.ir.graph_strategies import graphs
from tests.lower.graphs import Draft
from tests.ops.test_verify import sound

EXPECTED = """\
root(x: [B, 4], ids: int64[B, N], w: [4, 4]) -> (out: [B, 4], steps: [B, N, 4], logits: [B, N, 7])
  fc: [B, 4] = linear(x, out_features=4)
  again: [B, 4] = linear(fc, out_features=4) with the weights of fc
  given: [B, 4] = linear(again, out_features=4, bias=false, weight:=w)
  chain: [B, 4] = mlp(given) * 3
  inner: [B, 6] = linear(chain, out_features=6) with the weights of chain.2.fc1
  back: [B, 4] = linear(inner, out_features=4)
  drops: [B, 4] = dropping(back, p=turn / 10) * 2
  other: [B, 4] = mlp(drops)
  other_again: [B, 4] = mlp(other) with the weights of other
  aux: [B, 3] = linear(x, out_features=3), unused
  embed: [B, N, 4] = embedding(ids, num_embeddings=7, embedding_dim=4)
  weight: [7, 4] = get_weight(path=embed.weight, shape=[7, 4])
  head: [B, N, 7] = linear(embed, out_features=7, bias=false, weight:=weight)
  scan: [B, 4], [B, N, 4] = scan(embed, other_again, w, dim=1, xs=1, carry=1, cell)
  mode: [B, 4] = switch_training(scan.0, train, eval)
  out = mode
  steps = scan.1
  logits = head

mlp(x: [B, 4]) -> (out: [B, 4])
  fc1: [B, 6] = linear(x, out_features=6)
  act: [B, 6] = gelu(fc1)
  fc2: [B, 4] = linear(act, out_features=4)
  out = fc2

dropping(x: [B, 4]; p) -> (out: [B, 4])
  drop: [B, 4] = dropout(x, p=p)
  out = drop

cell(x: [B, 4], h: [B, 4], w: [4, 4]) -> (h: [B, 4], y: [B, 4])
  sum: [B, 4] = add(x, h)
  y: [B, 4] = matmul(sum, w)
  h = y
  y = x

"""


def test_a_node_of_each_kind() -> None:
    assert str(sound()).startswith(EXPECTED)


def test_graphs_of_one_name_are_numbered_and_args_shown() -> None:
    def block(width: int) -> Graph:
        g = Draft("block")
        graph = g.done(g.op("fc", "linear", g.input("x", "B 4"), out_features=width, init={"normal": {"std": 0.02}}))
        return graph.replace(args=(("width", width), ("act", "relu"), ("mask", None)))

    g = Draft("root")
    x = g.input("x", TensorType("float", (2, 5, 4), ((1, Layout(1, (2, 2))),)))
    assert str(x.type) == "[2, 1 + (2 2), 4]"
    y = g.input("y", "B 4")
    text = str(g.done(a=g.call("a", block(4), y), b=g.call("b", block(6), y), c=g.call("c", block(4), y), x=x))
    assert "  c: [B, 4] = block(y)\n" in text
    assert "  b: [B, 6] = block#2(y)\n" in text
    assert "\nblock#2{width=6, act=relu, mask=null}(x: [B, 4]) -> (out: [B, 6])\n" in text
    assert "linear(x, out_features=6, init=normal(mean=0.0, std=0.02))" in text
    assert text.count("\nblock{") == 1


@settings(max_examples=40)
@given(graphs())
def test_every_node_has_its_line(graph: Graph) -> None:
    distinct = set(graph.graphs())
    lines = str(graph).splitlines()
    assert sum(" = " in line and ": [" in line for line in lines) == sum(len(g.nodes) for g in distinct)
    assert str(graph).count("\n\n") == len(distinct) - 1
