"""Einops patterns against einops itself, and the calls that they become."""

from __future__ import annotations

import einops
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import archgraph.ops.reduce
import archgraph.ops.shape  # noqa: F401
from archgraph.ir.dim import sym
from archgraph.ir.types import Layout
from tests.ops.harness import EagerEmitter, at, check, error, infer, tensor_type

H, W = sym("H"), sym("W")


@pytest.mark.parametrize(
    ("pattern", "shape", "lengths", "used"),
    [
        ("b n c -> b n c", "B 3 4", {}, []),
        ("b c h w -> b (h w) c", "B 3 4 5", {}, ["flatten", "transpose"]),
        ("b (h w) c -> b c h w", "B 12 5", {"h": 3}, ["transpose", "unflatten"]),
        ("b n (three h d) -> three b h n d", "B 7 24", {"three": 3, "h": 2}, ["unflatten", "permute"]),
        ("b h n d -> b n (h d)", "B 2 7 4", {}, ["transpose", "flatten"]),
        ("b c h w -> b (c h w)", "B 3 4 5", {}, ["flatten"]),
        ("b (h i) (w j) c -> b (h w) (i j) c", "B 6 8 3", {"i": 3, "j": 4},
         ["unflatten", "unflatten", "transpose", "flatten", "flatten"]),
        ("b c -> b c 1 1", "B 3", {}, ["unsqueeze", "unsqueeze"]),
        ("b c 1 1 -> b c", "B 3 1 1", {}, ["squeeze"]),
        ("b 1 (h w) c -> b 1 h w c", "B 1 12 5", {"h": 3}, ["unflatten"]),
        ("(a b) c -> a (b c)", "6 5", {"a": 2}, ["unflatten", "flatten"]),
        ("(a b) c d -> a b (c d)", "6 5 3", {"a": 2}, ["flatten", "unflatten"]),
        ("b ... c -> b c ...", "B 3 4 5", {}, ["permute"]),
        ("b ... c -> b (...) c", "B 3 4 5", {}, ["flatten"]),
    ],
)  # fmt: skip
def test_rearrange_is_the_shortest_chain_of_calls(pattern: str, shape: str, lengths: dict, used: list[str]) -> None:
    run = check(
        "rearrange",
        {"pattern": pattern, **lengths},
        shape,
        env={"B": 2} if "B" in shape else {},
        reference=lambda x: einops.rearrange(x, pattern, **lengths),
    )
    assert run.used == used


@pytest.mark.parametrize(
    ("pattern", "shape", "lengths", "used"),
    [
        ("b n c -> b h n c", "B 3 4", {"h": 5}, ["unsqueeze", "expand"]),
        ("b h n d -> b (h r) n d", "B 2 3 4", {"r": 3}, ["repeat_interleave"]),
        ("b n -> b (r n)", "B 3", {"r": 3}, ["repeat"]),
        ("h w -> (2 h) (2 w)", "3 4", {}, ["repeat"]),
        ("h w -> (h 2) (w 2)", "3 4", {}, ["unsqueeze", "unsqueeze", "expand", "flatten", "flatten"]),
        ("t i two -> b t k (i two)", "3 4 2", {"b": 2, "k": 5}, ["flatten", "unsqueeze", "unsqueeze", "expand"]),
        ("b 1 c -> b n 1 c", "B 1 4", {"n": 5}, ["unsqueeze", "expand"]),
        ("b c -> b c", "B 4", {}, []),
    ],
)  # fmt: skip
def test_repeat_expands_where_it_can(pattern: str, shape: str, lengths: dict, used: list[str]) -> None:
    run = check(
        "repeat",
        {"pattern": pattern, **lengths},
        shape,
        env={"B": 2} if "B" in shape else {},
        reference=lambda x: einops.repeat(x, pattern, **lengths),
    )
    assert run.used == used


def test_sizes_may_be_symbolic() -> None:
    found = infer("rearrange", {"pattern": "b (h p) (w q) c -> (b h w) p q c", "p": 7, "q": 7}, "B H W C")
    assert found.outs[0].shape == (sym("B") * (H // 7) * (W // 7), 7, 7, sym("C"))
    assert sorted(str(cond) for cond, _ in found.guards) == ["H % 7 == 0", "W % 7 == 0"]
    check(
        "rearrange",
        {"pattern": "b (h p) (w q) c -> (b h w) p q c", "p": 7, "q": 7},
        "B H W C",
        env={"B": 2, "H": 14, "W": 21, "C": 3},
    )
    check("rearrange", {"pattern": "b (h n) k -> b h n k", "h": sym("H")}, "B C H", env={"B": 2, "H": 3, "C": 12})
    check("repeat", {"pattern": "b n -> b n k", "k": sym("N")}, "B N", env={"B": 2, "N": 3})


def test_lengths_may_stand_apart() -> None:
    check(
        "rearrange",
        {"pattern": "b (in out) -> b out in", "axes_lengths": {"in": 3}},
        "2 12",
        reference=lambda x: x.view(2, 3, 4).transpose(1, 2),
    )


# -- against einops on random patterns ---------------------------------------------------------------------------


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[list[str]], list[str], dict[str, int]]:
    """Axis names with sizes, composed at random into the axes of an operand."""
    names = list("abcdef")[: draw(st.integers(1, 6))]
    sizes = {name: draw(st.integers(1, 4)) for name in names}
    return compose(draw, names), names, sizes


def compose(draw: st.DrawFn, names: list[str]) -> list[list[str]]:
    """``names`` cut into groups at random, some groups of size 1 between them."""
    groups: list[list[str]] = []
    for name in names:
        if groups and groups[-1] and draw(st.booleans()):
            groups[-1].append(name)
        else:
            if draw(st.integers(0, 6)) == 0:
                groups.append([])
            groups.append([name])
    return groups


def written(groups: list[list[str]]) -> str:
    return " ".join("1" if not g else g[0] if len(g) == 1 else f"({' '.join(g)})" for g in groups)


def shaped(groups: list[list[str]], sizes: dict[str, int]) -> str:
    return " ".join(str(torch.Size([sizes[n] for n in g]).numel()) for g in groups)


def lengths_of(draw: st.DrawFn, groups: list[list[str]], sizes: dict[str, int]) -> dict[str, int]:
    """Sizes that must be told: all of a group but one, and maybe that one too."""
    told = {}
    for group in groups:
        spared = draw(st.sampled_from([*group, None])) if group else None
        told.update({n: sizes[n] for n in group if n != spared or (len(group) > 1 and draw(st.booleans()))})
    return told


@given(st.data())
def test_rearrange_equals_einops(data: st.DataObject) -> None:
    left, names, sizes = data.draw(cases())
    right = compose(data.draw, data.draw(st.permutations(names)))
    pattern = f"{written(left)} -> {written(right)}"
    lengths = lengths_of(data.draw, left, sizes)
    run = check(
        "rearrange",
        {"pattern": pattern, **lengths},
        shaped(left, sizes),
        reference=lambda x: einops.rearrange(x, pattern, **lengths),
    )
    assert len([u for u in run.used if u in ("permute", "transpose")]) <= 1


@given(st.data())
def test_repeat_equals_einops(data: st.DataObject) -> None:
    left, names, sizes = data.draw(cases())
    new = {name: data.draw(st.integers(1, 3)) for name in data.draw(st.lists(st.sampled_from("uvw"), unique=True))}
    right = compose(data.draw, data.draw(st.permutations([*names, *new])))
    pattern = f"{written(left)} -> {written(right)}"
    lengths = {**lengths_of(data.draw, left, sizes), **new}
    check(
        "repeat",
        {"pattern": pattern, **lengths},
        shaped(left, sizes),
        reference=lambda x: einops.repeat(x, pattern, **lengths),
    )


@given(st.data(), st.sampled_from(["mean", "sum", "max", "min", "prod"]))
def test_reduce_equals_einops(data: st.DataObject, reduction: str) -> None:
    left, names, sizes = data.draw(cases())
    kept = [n for n in data.draw(st.permutations(names)) if data.draw(st.booleans())]
    right = compose(data.draw, kept)
    pattern = f"{written(left)} -> {written(right)}"
    lengths = lengths_of(data.draw, left, sizes)
    check(
        "reduce",
        {"pattern": pattern, "reduction": reduction, **lengths},
        shaped(left, sizes),
        reference=lambda x: einops.reduce(x, pattern, reduction, **lengths),
    )


# -- layouts -----------------------------------------------------------------------------------------------------


def layouts(pattern: str, shape: str, given: dict[int, Layout] | None = None, **lengths: int) -> dict[int, Layout]:
    found = infer("rearrange", {"pattern": pattern, **lengths}, tensor_type(shape, given))
    return dict(found.outs[0].layout)


def test_flattening_neighbours_makes_a_grid() -> None:
    assert layouts("b c h w -> b (h w) c", "B C H W") == {1: Layout(0, (H, W))}
    assert layouts("b c h w -> b c (h w)", "B C H W") == {2: Layout(0, (H, W))}
    assert layouts("b c t h w -> b (t h w) c", "B C T H W") == {1: Layout(0, (sym("T"), H, W))}
    assert layouts("b c h w -> b (w h) c", "B C H W") == {}
    assert layouts("b h n d -> b n (h d)", "B 3 N 64") == {}
    assert layouts("b (h i) (w j) c -> b (h w) (i j) c", "B 14 21 C", i=7, j=7) == {
        1: Layout(0, (2, 3)),
        2: Layout(0, (7, 7)),
    }


def test_a_grid_is_split_without_lengths() -> None:
    grid = {1: Layout(0, (H, W))}
    found = infer("rearrange", {"pattern": "b (h w) c -> b c h w"}, tensor_type([sym("B"), H * W, 4], grid))
    assert found.outs[0].shape[2:] == (H, W)
    assert found.outs[0].layout == ()
    env = {"H": 3, "W": 5}
    emitter = EagerEmitter(found, {}, {**env, "B": 2})
    x = torch.randn(2, 15, 4)
    assert torch.equal(found.op.lower(emitter, x), einops.rearrange(x, "b (h w) c -> b c h w", h=3))
    assert at(found.outs[0].shape[2:], env) == (3, 5)
    windows = {1: Layout(0, (2, 3)), 2: Layout(0, (7, 7))}
    found = infer("rearrange", {"pattern": "b (h w) (i j) c -> b (h i) (w j) c"}, tensor_type("B 6 49 C", windows))
    assert str(found.outs[0]) == "[B, 14, 21, C]"


def test_moving_axes_keeps_their_layouts() -> None:
    tokens = {1: Layout(1, (4, 5))}
    assert layouts("b n c -> b c n", "2 21 3", tokens) == {2: Layout(1, (4, 5))}
    assert layouts("b n (h d) -> b h n d", "2 21 6", tokens, h=2) == {2: Layout(1, (4, 5))}
    assert layouts("b (k n) c -> b k n c", "2 20 3", {1: Layout(0, (4, 5))}, k=2) == {}
    assert layouts("b n c -> b (n c)", "2 21 3", tokens) == {1: Layout(0, (21, 3))}


def test_a_prefix_must_be_cut_off_before_a_split() -> None:
    raised = error("rearrange", {"pattern": "b (h w) c -> b c h w"}, tensor_type("2 21 3", {1: Layout(1, (4, 5))}))
    assert str(raised) == "axis 1 of [2, 1 + (4 5), 3] has 1 prefix tokens before its grid"
    assert raised.hint == "take them off first: {op: slice, dim: 1, start: 1}"


# -- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "lengths", "message"),
    [
        ("b n c", {}, 'pattern "b n c": one arrow `->` is needed'),
        ("b (n c -> b n c", {}, 'pattern "b (n c -> b n c": a bracket is not closed'),
        ("b ((n) c) -> b n c", {}, 'pattern "b ((n) c) -> b n c": parentheses don\'t nest'),
        ("b n) c -> b n c", {}, 'pattern "b n) c -> b n c": a `)` without its `(`'),
        ("b n b -> b n", {}, 'pattern "b n b -> b n": `b` stands twice on one side'),
        ("b n ? -> b n", {}, 'pattern "b n ? -> b n": `?` has no meaning here'),
        ("b [n] c -> b n c", {}, 'pattern "b [n] c -> b n c": `[` has no meaning here'),
        ("b n -> n b", {}, 'pattern "b n -> n b" takes 2 axes'),
        ("a b c d ... -> ... a b c d", {}, 'pattern "a b c d ... -> ... a b c d" takes 4 axes or more'),
        ("b n c -> b n", {}, '`c` stands only before the arrow of "b n c -> b n"'),
        ("b n c -> b n c d", {}, '`d` stands only after the arrow of "b n c -> b n c d"'),
        ("... (...) -> ...", {}, 'pattern "... (...) -> ...": `...` stands twice on one side'),
        ("b (...) -> b ...", {}, 'pattern "b (...) -> b ...": `...` can\'t stand in parentheses before the arrow'),
        ("b n c -> b ... n c", {}, 'pattern "b n c -> b ... n c": `...` stands only after the arrow'),
        ("b (h w) c -> b c h w", {}, 'pattern "b (h w) c -> b c h w" needs the size of `h` or `w`'),
        ("b (h w) c -> b c h w", {"x": 3}, 'pattern "b (h w) c -> b c h w" has no axis `x`'),
        ("b (h w) c -> b c h w", {"h": 5},
         '5 must divide 12 (axis 1 of [2, 12, 4]), split as `(h w)` in "b (h w) c -> b c h w"'),
        ("b (h w) c -> b c h w", {"h": 5, "w": 2},
         '`(h w)` in "b (h w) c -> b c h w" is 10, but axis 1 of [2, 12, 4] has 12'),
        ("b n c -> b c n", {"n": 5}, '`n` in "b n c -> b c n" is 5, but axis 1 of [2, 12, 4] has 12'),
        ("b 1 c -> b c", {}, '`1` in "b 1 c -> b c" is 1, but axis 1 of [2, 12, 4] has 12'),
        ("b 0 c -> b c", {}, 'pattern "b 0 c -> b c": an axis can\'t be empty'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_pattern_is_said(pattern: str, lengths: dict, message: str) -> None:
    assert str(error("rearrange", {"pattern": pattern, **lengths}, "2 12 4")) == message


def test_a_new_axis_needs_its_size() -> None:
    raised = error("repeat", {"pattern": "b c -> b n c"}, "2 3")
    assert str(raised) == 'the size of `n` in "b c -> b n c" is not known'
    assert raised.hint == "write it beside the pattern: `n: …`, or `axes_lengths: {n: …}`"
