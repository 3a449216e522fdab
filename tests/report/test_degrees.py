"""Every attention of the library has the degree in its input's size that its paper claims.

The list is complete for the library: a block of `specs/blocks` that mixes tokens is in `KINDS` or is a part of one in
`PARTS`, and every rule that puts one attention in place of another in `RULES`. A new one without an asserted degree
fails here. Attentions that only one spec has stand beside them.
"""

import re

import pytest

import archgraph
from archgraph.rewrite.rule import load_rule
from archgraph.spec.libraries import specs_folder
from archgraph.spec.spec_files import parse_file

SEQUENCE = "  x: [B, N, 64]", "x: {op: identity}", "N"
SIDE = {"side": "{k} * t"}
MAP = "  x: [B, 64, side, side]", "x: {op: identity}", SIDE
LAST = "  x: [B, side, side, 64]", "x: {op: identity}", SIDE
GRID = "  x: [B, 64, side, side]", "x: {op: rearrange, pattern: b c h w -> b (h w) c}", SIDE
HEADS = "  x: [B, 4, N, 16]", "x: {op: identity}", "N"

# block → input, arguments, step of the side (1 for sequences), degree. In the side of a map 2 is linear in its pixels
# and 4 quadratic; in the length of a sequence 1 and 2.
KINDS = {
    # softmax: every token with every other
    "blocks/transformer mhsa": (SEQUENCE, "", 1, 2),
    "blocks/transformer multihead_attention": (SEQUENCE, "in: [x, x, x]", 1, 2),
    "blocks/relative_attention sequence_attention": (
        ("  x: [N, B, 64]", "x: {op: identity}", "N"),
        "in: [x, x, x], relative: false, convolve: false",
        1,
        2,
    ),
    "blocks/bi_level_routing attention_lepe": (LAST, "", 8, 4),
    "blocks/bi_level_routing nchw_attention_lepe": (MAP, "", 8, 4),
    "blocks/token_planes plane_mhsa": (SEQUENCE, "form: linear, rows: 8", 1, 2),
    "blocks/token_planes shared_valid_mhsa": (SEQUENCE, "rows: 8", 1, 2),
    "dbconformer attention": (SEQUENCE, "num_heads: 8", 1, 2),
    "dhvt hi_attention": (SEQUENCE, "num_heads: 4", 1, 2),
    "smt attention": (GRID, "", 8, 4),
    "ms-guided position_attention": (MAP, "", 8, 4),
    "ms-guided channel_attention": (MAP, "", 8, 2),  # of channels with channels
    "blocks/pvt spatial_reduction_attention": (GRID, "sr_ratio: 2", 8, 4),  # a constant factor fewer keys
    # linear: keys and values first
    "blocks/linear_attention linear_attention": (SEQUENCE, "", 1, 1),
    "blocks/linear_attention linear_attention elu + 1": (SEQUENCE, "feature_map: elu_plus_one", 1, 1),
    "l2vit linear_block": (GRID, "num_heads: 4", 8, 2),
    "blocks/lightning_attention lightning_attention": (HEADS, "in: [x, x, x]", 1, 1),
    "blocks/lightning_attention lightning_attention parallel": (HEADS, "in: [x, x, x], form: parallel", 1, 2),
    "blocks/lightning_attention lightning_self_attention": (SEQUENCE, "", 1, 1),
    "lightning-attention mixer_with_slopes": (SEQUENCE, "", 1, 1),
    "lightning-attention tnl_attention": (SEQUENCE, "", 1, 1),
    "blocks/neural_memory neural_memory": (SEQUENCE, "", 1, 1),
    "titans paper_memory": (SEQUENCE, "", 1, 1),
    # agents: a fixed number of tokens between queries and keys
    "blocks/agent_attention agent_attention": (GRID, "", 8, 2),
    "blocks/agent_attention agent_reduction_attention": (GRID, "", 8, 2),
    "blocks/agent_attention agent_window_attention": (LAST, "num_heads: 4", 7, 2),
    # windows, stripes, neighbourhoods: what a token sees is bounded, in one direction at least
    "blocks/window_attention window_attention": (LAST, "num_heads: 4", 7, 2),
    "blocks/partition_attention partition_attention": (LAST, "head_dim: 16", 7, 2),
    "blocks/partition_attention partition_attention grid": (LAST, "head_dim: 16, partition: grid", 7, 2),
    "blocks/neighborhood_attention neighborhood_attention": (LAST, "", 8, 2),
    "blocks/halo_attention halo_attention": (MAP, "", 8, 2),
    "blocks/cross_window_attention cross_window_attention": (GRID, "", 7, 3),
    "titans prefixed_attention": (SEQUENCE, "num_heads: 4, head_dim: 16", 1, 1),
    "titans segmented_attention": (SEQUENCE, "num_heads: 4, head_dim: 16, window: 32", 1, 1),
    "titans memory_as_context": (SEQUENCE, "num_heads: 4, head_dim: 16", 1, 1),
    "titans memory_as_gate": (SEQUENCE, "num_heads: 4, head_dim: 16", 1, 1),
    "titans memory_as_layer": (SEQUENCE, "num_heads: 4, head_dim: 16", 1, 1),
    # routing: a fixed number of regions is quadratic in pixels, with the best number it is O((HW)^(4/3))
    "blocks/bi_level_routing bra": (LAST, "", 7, 4),
    "blocks/bi_level_routing nchw_bra": (MAP, "", 7, 4),
    # learned masks: the rank of the predictor grows with the tokens, so dense code is cubic
    "sparsifiner sparse_attention": (SEQUENCE, "num_heads: 4", 1, 3),
    # gates, pools and channels
    "blocks/gnconv gnconv": (MAP, "order: 3", 8, 2),
    "blocks/bi_level_routing conv_mixer": (LAST, "", 8, 2),
    "blocks/neural_memory attention_pool": (SEQUENCE, "size: 16", 1, 1),
    "dbconformer attention_pool": (SEQUENCE, "", 1, 1),
    "blocks/eca eca": (MAP, "", 8, 0),  # a convolution over channels, after pooling
    "blocks/eca eca_ns": (MAP, "", 8, 0),
    "blocks/ela ela": (MAP, "", 8, 1),  # convolutions along rows and columns
    "blocks/ulsam ulsam": (MAP, "", 8, 2),
}

#: Blocks that make up one of those, or whose work is another input's.
PARTS = {
    "blocks/agent_attention agent_core": "agent_attention",
    "blocks/agent_attention agent_stripe_attention": "cross_window_attention under cross_window_to_agent",
    "blocks/agent_attention sd_agent_attention": "merged_agent_attention: its agents are an input",
    "blocks/agent_attention merged_agent_attention": "a map whose size is an argument",
    "blocks/cross_window_attention stripe_attention": "cross_window_attention",
    "blocks/dynamic_kernels dynamic_kernel": "kernels are an input",
    "blocks/neural_memory memory_mlp": "neural_memory: a network that is learnt in passing",
    "blocks/neural_memory memory_factorized_mlp": "neural_memory",
    "blocks/neural_memory memory_gated_mlp": "neural_memory",
    "blocks/neural_memory memory_swiglu_mlp": "neural_memory",
    "blocks/neural_memory memory_write": "neural_memory",
    "blocks/neural_memory memory_read": "neural_memory",
    "blocks/token_planes plane_attention": "plane_mhsa",
    "blocks/ulsam subspace": "ulsam",
    "convsharevit concat_attention": "heads of plane_attention, joined",
    "eca-net/resnet eca_basic_block": "eca",
    "eca-net/resnet eca_bottleneck": "eca",
    "ela/resnet ela_basic_block": "ela",
    "ela/resnet ela_bottleneck": "ela",
    "lightning-attention gated_linear_attention": "mixer_with_slopes",
    "sparsifiner masked_weights": "sparse_attention",
    "sparsifiner mask_predictor": "sparse_attention",
    "titans memory_step": "memory_as_context: within the layers of the whole model",
}
# rule → host variant or settings, what grows, degree before and after
RULES = {
    "softmax_to_linear": ("vit", {"image_size": "16 * t"}, 4, 2),
    "softmax_to_agent": ("vit", {"image_size": "16 * t"}, 4, 2),
    "softmax_to_lightning": ("vit", {"image_size": "16 * t"}, 4, 2),
    "softmax_to_window": ("vit", {"image_size": "112 * t"}, 4, 2),
    "softmax_to_partition": ("vit", {"image_size": "112 * t"}, 4, 2),
    "softmax_to_neighborhood": ("vit", {"image_size": "16 * t"}, 4, 2),
    "softmax_to_bi_level_routing": ("vit", {"image_size": "112 * t"}, 4, 4),  # of a fixed number of regions
    "softmax_to_sparse": ("vit", {"image_size": "16 * t"}, 4, 6),  # dense code, with a rank that grows
    "attention_to_bi_level_routing": ("biformer_trunk", {"image_size": "224 * t"}, 4, 4),
    "nchw_attention_to_bi_level_routing": ("biformer_trunk:stl_nchw", {"image_size": "224 * t"}, 4, 4),
    "spatial_reduction_to_agent": ("pvt", {"image_size": "32 * t"}, 4, 4),  # the last stage has nothing to reduce
    "cross_window_to_agent": ("cswin", {"image_size": "224 * t"}, 4, 2),
    "window_to_agent": ("swin", {"image_size": "224 * t"}, 2, 2),
    "window_to_bi_level_routing": ("swin", {"image_size": "224 * t"}, 2, 4),
    "mhsa_to_shared_conv": ("vit", {"depth": "t"}, 1, 1),
    "mhsa_to_shared_conv_valid": ("vit", {"depth": "t"}, 1, 1),
}
#: What a rule must be told to fit its host; without class tokens where windows tile the tokens.
NO_CLASS = {"class_token": False, "pool": "mean"}
TILED = ("softmax_to_window", "softmax_to_partition", "softmax_to_neighborhood", "softmax_to_bi_level_routing")
SETTINGS = dict.fromkeys((*TILED, "softmax_to_sparse"), NO_CLASS)
ATTENTIONS = re.compile(r"attention|attn|mhsa|^(nchw_)?bra$|gnconv|memory|^eca|^ela|ulsam|mixer")
MIXING = {"scaled_dot_product_attention", "linear_attention", "softmax"}


def host(block, kind, args):
    library, name = block.split()[:2]
    inputs, first, _ = kind
    params = "" if "side" not in inputs else "params: {side: 56}\n"
    given = f", {args}" if args else ""
    return archgraph.loads(
        f"archgraph: 1\nname: host\nuses: [{library}]\n{params}inputs:\n{inputs}\n"
        f"graph:\n  {first.replace('x:', 'tokens:', 1)}\n  y: {{op: {name}{given.replace('x', 'tokens')}}}\n"
        "outputs: {y: y}\n"
    )


@pytest.mark.parametrize("block", KINDS)
def test_a_block_has_the_degree_of_its_kind(block):
    kind, args, step, degree = KINDS[block]
    over = kind[2] if isinstance(kind[2], str) else {k: v.format(k=step) for k, v in kind[2].items()}
    found = archgraph.law(host(block, kind, args), "macs", over, around=256 if over == "N" else 8)
    assert found.degree == degree, str(found)
    assert found.exact


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_changes_the_degree(rule):
    text, over, before, after = RULES[rule]
    name, _, variant = text.partition(":")
    spec = archgraph.load(name, variant or None, **SETTINGS.get(rule, {}))
    assert archgraph.law(spec, "macs", over).degree == before
    assert archgraph.law(spec, "macs", over, rewrite=[rule]).degree == after


def test_where_zeros_are_skipped_learned_masks_are_quadratic():
    kind, args, _, _ = KINDS["sparsifiner sparse_attention"]
    spec = host("sparsifiner sparse_attention", kind, args)
    dense, sparse = (archgraph.law(spec, cost, "N", around=256) for cost in ("macs", "expected_macs"))
    assert (dense.degree, sparse.degree) == (3, 2)
    assert dense(1024) > sparse(1024)


def test_routing_with_the_best_number_of_regions():
    """Sides of t⁶ have t¹² pixels; t⁴ regions a side cost O(t¹⁶), the power 4/3, and fewer or more cost more."""
    spec = archgraph.loads(
        "archgraph: 1\nname: host\nuses: [blocks/bi_level_routing]\nparams: {side: 64, n_win: 4}\n"
        "inputs: {x: [B, side, side, 64]}\ngraph: {y: {op: bra, n_win: n_win}}\noutputs: {y: y}\n"
    )
    degrees = [
        archgraph.law(spec, "macs", {"side": "t ** 6", "n_win": f"t ** {e}"}, around=4).degree for e in range(1, 7)
    ]
    assert degrees == [22, 20, 18, 16, 20, 24]  # 12 · 4/3 = 16


def attentions():
    """Blocks that mix tokens, by their names or by the ops in them."""

    def words(x):
        if isinstance(x, dict):
            for key, value in x.items():
                if key == "op" and isinstance(value, str):
                    yield value
                yield from words(value)
        elif isinstance(x, list):
            for value in x:
                yield from words(value)
        elif isinstance(x, str):
            yield x

    root = specs_folder()
    for path in sorted(root.rglob("*.yaml")):
        name = path.relative_to(root).with_suffix("").as_posix()
        if name.startswith(("rewrites/", "claims/")):
            continue
        file = parse_file(path)
        for block in file.blocks:
            body = file.tree["blocks"][block].get("graph") or {}
            if ATTENTIONS.search(block) or MIXING & set(words(body)):
                yield f"{name} {block}"


def test_no_attention_is_left_out():
    known = {" ".join(block.split()[:2]) for block in KINDS} | set(PARTS)
    missing = [block for block in attentions() if block not in known and block.startswith("blocks/")]
    assert not missing, "these have no asserted degree: add them to KINDS, or to PARTS with what they are a part of"
    assert known <= set(attentions()), "these are no more"


def test_no_rule_is_left_out():
    rules = {path.stem for path in (specs_folder() / "rewrites").glob("*.yaml")}
    turning = {r for r in rules if re.search(r"(attention|softmax|window|reduction|mhsa)_to_", r)}
    assert turning <= set(RULES), "add them to RULES"
    assert all(load_rule(rule) for rule in RULES)
