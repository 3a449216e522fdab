"""Records of weights through inputs of blocks, loops read by turns inside a switch, and scans over nothing."""

import torch

import archgraph

RECORD = """
archgraph: 1
name: through
inputs: {x: [B, 4]}
graph:
  own: {op: weights, of: net, example: {x: [1, 4]}}
  y: {op: twice, in: {x: x, w: own}}
blocks:
  net:
    inputs: {x: [B, C]}
    graph:
      scale: {op: parameter, shape: [C], init: ones}
      fc: {op: linear, in: x, out_features: C}
      y: {formula: fc * scale}
  twice:
    inputs: {x: [B, C], w: {list: [...]}}
    let: {number: len(w)}
    graph:
      again: {op: weights, of: net, example: {x: [1, C]}, values: w}
      once: {op: net, in: x, weights: again}
      twice: {op: net, in: once, weights: again}
      y: {formula: number * twice}
"""


def test_a_record_goes_through_a_list_input_and_becomes_one_again() -> None:
    model = archgraph.build(archgraph.loads(RECORD))
    assert list(model.state_dict()) == ["own.scale", "own.fc.weight", "own.fc.bias"]
    x = torch.randn(2, 4)
    once = (x @ model.own.fc.weight.T + model.own.fc.bias) * model.own.scale
    torch.testing.assert_close(model(x), 3 * (once @ model.own.fc.weight.T + model.own.fc.bias) * model.own.scale)


TURNS = """
archgraph: 1
name: turns
params: {deep: true}
inputs: {x: [B, 4]}
graph:
  steps:
    switch: deep
    cases:
      true: {for: {k: 3}, op: linear, out_features: 4 + k}
      false: {for: {k: 1}, op: linear, out_features: 4}
  all: {list: [steps...]}
outputs: {all: all, last: steps}
"""


def test_turns_of_a_loop_inside_a_switch_are_read_one_by_one() -> None:
    found = archgraph.build(archgraph.loads(TURNS))(torch.randn(2, 4))
    assert [t.shape[1] for t in found["all"]] == [4, 5, 6]
    assert torch.equal(found["last"], found["all"][-1])


SCAN = """
archgraph: 1
name: walk
params: {n: 3}
inputs: {x: [2, n, 4]}
graph:
  steps: {op: slice, dim: 1, start: n - n % 3, shape: [2, m, 4]}
  walk:
    op: scan
    dim: 1
    xs: {s: steps}
    init: {h: {op: zeros, shape: [2, 4]}}
    graph: {next: {formula: h + s}}
    carry: {h: next}
    ys: {sums: next}
outputs: {last: walk.h, sums: walk.sums}
"""


def test_a_scan_over_nothing_returns_what_it_was_given() -> None:
    for length in (3, 5):
        found = archgraph.build(archgraph.loads(SCAN, n=length))(torch.ones(2, length, 4))
        assert found["sums"].shape == (2, length % 3, 4)
        torch.testing.assert_close(found["last"], torch.full((2, 4), float(length % 3)))


SHARED = """
archgraph: 1
name: shared
inputs: {x: [B, 4], z: [B, 4]}
graph:
  first: {op: pair, in: {a: x, b: z}}
  second: {share: first, in: {a: z, b: first}}
outputs: {y: second}
blocks:
  pair:
    inputs: {a: [B, C], b: [B, C]}
    graph:
      fc: {op: linear, in: a, out_features: C}
      y: {formula: fc - b}
"""


def test_a_shared_block_takes_its_inputs_by_name() -> None:
    model = archgraph.build(archgraph.loads(SHARED))
    assert list(model.state_dict()) == ["first.fc.weight", "first.fc.bias"]
    x, z = torch.randn(2, 4), torch.randn(2, 4)
    fc = model.first.fc
    torch.testing.assert_close(model(x, z), fc(z) - (fc(x) - z))
