"""Specs small enough to count by hand."""

from pathlib import Path

import pytest

TINY = """\
archgraph: 1
name: tiny
summary: A stem, a chain of equal blocks, a classifier.
params: {width: 8, depth: 3, image_size: 8, classes: 5}
variants: {narrow: {}, wide: {width: 16}}
inputs: {image: [B, 3, image_size, image_size]}
graph:
  stem: {op: conv2d, out_channels: width, kernel_size: 3, padding: 1, bias: false}
  blocks: {op: block, repeat: depth}
  pool: {op: reduce, pattern: b c h w -> b c, reduction: mean}
  head: {op: linear, out_features: classes}
outputs: {logits: head}
blocks:
  block:
    inputs: {x: [B, C, H, W]}
    graph:
      sum: {residual: [conv: {op: conv2d, out_channels: C, kernel_size: 3, padding: 1, bias: false}, act: relu]}
"""

# stem 3·8·9, three blocks of 8·8·9, head 8·5 + 5
PARAMS = 216 + 3 * 576 + 45
MACS = (216 + 3 * 576) * 64 + 40

STAGES = """\
archgraph: 1
name: stages
inputs: {x: [B, 4, 6, 6]}
graph:
  stages: {op: stage, for: {width: "[4, 4, 8]"}, width: width}
  map: {op: conv2d, out_channels: 2, kernel_size: 1}
outputs: {y: map}
blocks:
  stage:
    params: {width: 4}
    inputs: {x: [B, C, H, W]}
    graph:
      conv: {op: conv2d, out_channels: width, kernel_size: 1, bias: false}
      act: relu
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A file with `TINY`."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path
