"""Small studies for tests."""

from __future__ import annotations

from pathlib import Path

TINY = """archgraph: 1
name: tiny
params: {dim: 8, depth: 2, heads: 2, act: {one_of: [relu, gelu]}, widths: [4, 8], wide: false}
requires: [{that: dim % heads == 0, why: heads share the width}]
inputs: {x: [B, 1, 8, 8]}
graph:
  flat: {op: rearrange, pattern: b c h w -> b (c h w)}
  first: {op: linear, out_features: dim}
  body: {op: layer, repeat: depth, act: $act}
  head: {op: linear, out_features: 10}
outputs: {logits: head}
blocks:
  layer:
    params: {act: {one_of: [relu, gelu]}}
    inputs: {x: [B, C]}
    graph:
      fc: {op: linear, out_features: C}
      fire: {switch: act, cases: {relu: relu, gelu: gelu}}
"""

STUDY = """archgraph: 1
name: small
spec: tiny.yaml
space:
  dim: {range: [4, 64], step: 4}
  depth: {range: [1, 3]}
  heads: [1, 2, 3, 4]
  act: [relu, gelu]
constraints: {params: {max: 4000}}
objectives: {macs: minimize, params: maximize}
trials: 8
"""


def write(folder: Path, study: str = STUDY, spec: str = TINY) -> Path:
    """A study file with its spec beside it."""
    (folder / "tiny.yaml").write_text(spec, encoding="utf-8")
    path = folder / "small.yaml"
    path.write_text(study, encoding="utf-8")
    return path
