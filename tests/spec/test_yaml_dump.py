"""Writing: whatever is written is read back by us and by stock PyYAML, in a layout that people would write."""

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from archgraph.spec.yaml import MAX_DEPTH, dump_yaml, load_yaml

LAYOUT = """\
name: vit
params: {dim: 192, depth: 12, pool: {one_of: [cls, mean]}}
variants:
  tiny: {}
  small: {dim: 384, num_heads: 6}
graph:
  tokens: {op: rearrange, pattern: b c h w -> b (h w) c}
  pos: {op: parameter, shape: [1, 1 + grid ** 2, dim], init: {trunc_normal: {std: 0.02}}}
  mix:
    residual:
      - {norm: {op: layer_norm, eps: 1.0e-6}}
      - attn:
          op: multihead_attention
          in: {query: normalised_query, key: normalised_key, value: normalised_value}
          num_heads: num_heads
          attn_mask: bias
  bias: {formula: "log(maximum(geo, 1e-6))"}
  mask:
    value: log(maximum(geo, 1e-6)) if very_long_name_of_a_condition else log(maximum(other, 1e-6)) + another_long_name
  rows:
    - - [1, 2]
      - a: 1
        b: {c: 2}
        d: {e: 3}
    - []
"""


def test_layout() -> None:
    assert dump_yaml(load_yaml(LAYOUT)) == LAYOUT


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text(
    st.sampled_from("ab01.-+:,#(){}[]'\"&*!|>%@`?=~$ \n_eExo<yn"), max_size=12
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from(["no", "1e-6", "null", "~", "1:30", "2021-01-02", "<<", "=", "a: b", "- a", "a #b", "---", "..."])
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(texts, inner, max_size=5)
        | st.dictionaries(st.integers(2, 99) | st.booleans(), inner, max_size=3)
    ),
    max_leaves=30,
)


def same(a: Any, b: Any) -> bool:
    """Equality that keeps 1, 1.0 and true apart, and the order of keys."""
    if isinstance(a, dict) and isinstance(b, dict):
        return [*map(repr, a)] == [*map(repr, b)] and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


@given(trees)
@example({"-": ["-", "- a", "", " ", "a ", "\x85", "\u2028", "\ufeff", "\U0001f600", "\x7f", "'", '"', "\\"]})
def test_what_is_written_is_read_back_by_us_and_by_stock_yaml(tree: Any) -> None:
    text = dump_yaml(tree)
    assert same(load_yaml(text), tree)
    assert same(yaml.safe_load(text), tree)


@given(trees)
def test_writing_is_stable(tree: Any) -> None:
    text = dump_yaml(tree)
    assert dump_yaml(load_yaml(text)) == text


def test_tuples_are_written_as_lists() -> None:
    assert dump_yaml({"a": (1, (2, 3))}) == "a: [1, [2, 3]]\n"


cyclic: list[Any] = []
cyclic.append(cyclic)


@pytest.mark.parametrize(
    "tree",
    [
        float("nan"),
        float("-inf"),
        2**63,
        {1.5: "x"},
        {None: "x"},
        {(1, 2): "x"},
        {"k" * 600: "x"},
        "\ud800",
        b"bytes",
        {"a", "b"},
        object(),
        cyclic,
    ],
)
def test_what_has_no_spelling_is_refused(tree: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        dump_yaml(tree)


def test_depth_agrees_with_the_reader() -> None:
    tree: Any = 1
    for _ in range(MAX_DEPTH):
        tree = [tree]
    assert load_yaml(dump_yaml(tree)) == tree
    with pytest.raises(ValueError, match="64 levels"):
        dump_yaml([tree])
    with pytest.raises(ValueError, match="64 levels"):
        dump_yaml({"a": [], "b": tree})
