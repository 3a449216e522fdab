"""The table of rules and hosts: what it says is what the engine does, and every family has hosts."""

from __future__ import annotations

import pytest

from archgraph.rewrite.rule import load_rule, shipped_rules
from tools import rewrites

#: Rules that at least two of the hosts on the page take, as they ship or with another head.
FAMILIES = [
    "add_eca",
    "add_eca_to_branches",
    "add_ela",
    "add_ela_to_branches",
    "add_ulsam",
    "replace_by_ulsam",
    "attention_core_to_linear",
    "attention_to_bi_level_routing",
    "cross_window_to_agent",
    "fold_conv_bn",
    "fold_conv_bn_block",
    "fold_key_value_bias",
    "fold_layer_norm_affine",
    "fold_temperature",
    "fuse_qkv",
    "linear_to_shared_conv",
    "mhsa_to_shared_conv",
    "mhsa_to_shared_conv_valid",
    "mlp_to_shared_conv",
    "mlp_to_shared_conv_valid",
    "pack_qkv",
    "softmax_to_agent",
    "softmax_to_bi_level_routing",
    "softmax_to_lightning",
    "softmax_to_linear",
    "softmax_to_neighborhood",
    "softmax_to_partition",
    "softmax_to_sparse",
    "softmax_to_window",
    "spatial_reduction_to_agent",
    "split_packed_qkv",
    "undilate_conv",
    "window_to_agent",
    "window_to_bi_level_routing",
]


@pytest.mark.slow
def test_the_page_is_what_the_engine_does() -> None:
    text = rewrites.page()
    assert rewrites.PAGE.read_text(encoding="utf-8") == text
    lines = text.splitlines()
    assert {f"`{name}`" in text for name in shipped_rules()} == {True}
    for name in FAMILIES:
        (at,) = (k for k, line in enumerate(lines) if line.startswith(f"| `{name}` |"))
        assert lines[at + 1].startswith("|  |  |"), f"{name} has one host"


def test_a_row() -> None:
    host = rewrites.Host("vit", "tiny")
    row = rewrites.row_of(load_rule("softmax_to_agent"), host, host.graph())
    assert row == (host, 12, (5717416, 6015640), (1253683200, 1167877632))
    assert rewrites.row_of(load_rule("window_to_agent"), host, host.graph()) is None
    assert (
        rewrites.Host("vit", None, {"class_token": False}, None, ("fuse_qkv",)).label
        == "`vit class_token=false` after `fuse_qkv`"
    )
