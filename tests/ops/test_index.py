"""Looking up and writing by index, against loops over every element."""

from __future__ import annotations

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import archgraph.ops.index  # noqa: F401
from archgraph.ir.dim import sym
from archgraph.ir.types import Layout
from tests.ops.harness import check, error, infer, tensor_type


class Case:
    """A pattern without parentheses, the sizes of its axes, and its operands."""

    def __init__(self, table: list[str], marked: list[str], indices: list[list[str]], sizes: dict[str, int]) -> None:
        self.table, self.marked, self.indices, self.sizes = table, marked, indices, sizes
        self.x = torch.arange(1.0, 1.0 + self.numel(table)).view([sizes[n] for n in table])
        pairs = zip(marked, indices, strict=True)
        self.index = [torch.randint(0, sizes[n], [sizes[k] for k in names]) for n, names in pairs]

    def numel(self, names: list[str]) -> int:
        return torch.Size([self.sizes[n] for n in names]).numel()

    @property
    def axes(self) -> list[str]:
        """Of the result of a look-up: those of table and indices without the indexed ones."""
        seen = [n for n in self.table if n not in self.marked] + [n for names in self.indices for n in names]
        return list(dict.fromkeys(seen))

    def places(self):
        """For every element of the result: its own place by axis, and that in the table."""
        for at in product(*(range(self.sizes[n]) for n in self.axes)):
            where = dict(zip(self.axes, at, strict=True))
            looked_up = {
                name: int(index[tuple(where[n] for n in names)])
                for name, index, names in zip(self.marked, self.index, self.indices, strict=True)
            }
            yield where, tuple(looked_up[n] if n in looked_up else where[n] for n in self.table)

    def gathered(self, order: list[str]) -> Tensor:
        out = torch.empty([self.sizes[n] for n in order])
        for where, source in self.places():
            out[tuple(where[n] for n in order)] = self.x[source]
        return out

    @property
    def text(self) -> str:
        """The table, with brackets, and the indices."""
        table = " ".join(f"[{n}]" if n in self.marked else n for n in self.table)
        return ", ".join([table, *(" ".join(names) for names in self.indices)])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Up to two indexed axes; batch, free and row axes in any order."""
    marked = ["n", "m"][: draw(st.integers(1, 2))]
    batch = ["a", "b"][: draw(st.integers(0, 2))]
    free = ["c", "d"][: draw(st.integers(0, 2))]
    rows = ["i", "j"][: draw(st.integers(0, 2))]
    table = draw(st.permutations([*marked, *batch, *free]))
    marked = [n for n in table if n in marked]
    indices = [draw(st.permutations([*batch, *rows])) for _ in marked]
    if len(indices) == 2 and rows:
        indices[1] = [n for n in indices[1] if n != rows[0]]
    return Case(table, marked, indices, {n: draw(st.integers(1, 3)) for n in "nmabcdij"})


def types(*tensors: Tensor) -> list[str]:
    dtypes = {torch.int64: "int64: ", torch.int32: "int32: "}
    return [dtypes.get(t.dtype, "") + " ".join(map(str, t.shape)) for t in tensors]


@given(cases(), st.data())
def test_gather_looks_every_element_up(case: Case, data: st.DataObject) -> None:
    order = data.draw(st.permutations(case.axes))
    pattern = f"{case.text} -> {' '.join(order)}"
    operands = [case.x, *case.index]
    check("gather", {"pattern": pattern}, *types(*operands), inputs=operands, reference=lambda *_: case.gathered(order))


@given(cases(), st.data(), st.sampled_from(["set", "add", "max"]))
def test_scatter_writes_every_element(case: Case, data: st.DataObject, reduce: str) -> None:
    order = data.draw(st.permutations(case.axes))
    values = torch.randn([case.sizes[n] for n in order])
    operands = [case.x, *case.index, values]
    pattern = f"{case.text}, {' '.join(order)}"
    expected, written = case.x.clone(), torch.zeros(case.x.shape)
    for where, target in case.places():
        value = values[tuple(where[n] for n in order)]
        if reduce == "add":
            expected[target] += value
        else:
            expected[target] = value if reduce == "set" else max(expected[target], value)
        written[target] += 1
    run = check("scatter", {"pattern": pattern, "reduce": reduce}, *types(*operands), inputs=operands)
    if reduce == "set":  # where several values meet, any may win
        run.outputs[0][written > 1] = expected[written > 1] = 0
    torch.testing.assert_close(run.outputs[0], expected)
    assert run.typed.cost.elementwise == (0 if reduce == "set" else values.numel())


@pytest.mark.parametrize(
    ("pattern", "shapes", "used"),
    [
        ("b [s] t d, b r k -> b r (k t) d", ["2 5 3 4", "2 5 2"],
         ["flatten", "flatten", "builtins.getattr", "torch.arange", "unsqueeze", "operator.add", "flatten",
          "index_select", "unflatten", "flatten"]),
        ("b [n], b j -> b j", ["2 5", "2 3"], ["gather"]),
        ("[n] c, i j -> i j c", ["5 3", "2 4"], ["torch.nn.functional.embedding"]),
        ("[n] c, i -> i c", ["5 3", "2"], ["index_select"]),
        ("b c [n], i -> b c i", ["2 3 5", "4"], ["index_select"]),
        ("g [n] m, i u -> g i u m", ["2 5 3", "4 2"], ["flatten", "index_select", "unflatten"]),
        ("[h w] c, p, p -> p c", ["3 4 5", "6", "6"], ["operator.mul", "operator.add", "flatten", "index_select"]),
        ("[h w] c, p [2] -> p c", ["3 4 5", "6 2"],
         ["select", "select", "operator.mul", "operator.add", "flatten", "index_select"]),
        ("[n] c, -> c", ["5 3", ""], ["unsqueeze", "index_select", "squeeze"]),
    ],
)  # fmt: skip
def test_gather_takes_the_shortest_way(pattern: str, shapes: list[str], used: list[str]) -> None:
    assert check("gather", {"pattern": pattern}, shapes[0], *(f"int64: {s}" for s in shapes[1:])).used == used


def test_gather_routed_regions() -> None:
    def regions(x: Tensor, index: Tensor) -> Tensor:
        found = x[torch.arange(2)[:, None, None], index]
        return found.flatten(2, 3)

    env = {"B": 2, "R": 5, "T": 3, "D": 4}
    pattern = "b [s] t d, b r k -> b r (k t) d"
    check("gather", {"pattern": pattern}, "B R T D", "int64: B R 2", env=env, high=5, reference=regions)


def test_parentheses_ellipses_and_lengths() -> None:
    x, index = torch.randn(2, 5, 6), torch.randint(0, 5, (2, 12))
    check(
        "gather",
        {"pattern": "b [n] (h d), b (i j) -> b i (j h) d", "h": 2, "axes_lengths": {"i": 3}},
        *types(x, index),
        inputs=[x, index],
        reference=lambda x, i: x[torch.arange(2)[:, None], i].view(2, 3, 4 * 2, 3),
    )
    x, index = torch.randn(2, 3, 5), torch.randint(0, 5, (2, 3, 4))
    check(
        "gather", {"pattern": "... [n], ... k -> k (...)"}, *types(x, index), inputs=[x, index],
        reference=lambda x, i: x.gather(2, i).permute(2, 0, 1).flatten(1),
    )  # fmt: skip


def test_indices_of_any_width() -> None:
    x, index = torch.randn(2, 5), torch.tensor([[0, 4], [3, 3]], dtype=torch.int32)
    check("gather", {"pattern": "b [n], b j -> b j"}, *types(x, index), inputs=[x, index],
          reference=lambda x, i: x.gather(1, i.long()))  # fmt: skip


def test_an_index_may_be_empty() -> None:
    x, index = torch.randn(2, 5, 3), torch.zeros(2, 0, dtype=torch.int64)
    check("gather", {"pattern": "b [n] c, b j -> b j c"}, *types(x, index), inputs=[x, index],
          reference=lambda x, i: x[:, :0])  # fmt: skip


def test_layouts_of_single_axes_stay() -> None:
    grid = tensor_type("2 20 5", {1: Layout(0, (4, 5))})
    found = infer("gather", {"pattern": "b n [c], j -> b j n"}, grid, "int64: 3")
    assert str(found.outs[0]) == "[2, 3, (4 5)]"
    assert str(infer("gather", {"pattern": "b [n] c, b j -> b j c"}, grid, "int64: 2 3").outs[0]) == "[2, 3, 5]"
    assert str(infer("scatter", {"pattern": "b [n] c, b j, b j c"}, grid, "int64: 2 3", "2 3 5").outs[0]) == str(grid)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("b n c, b j -> b j c", "the indexed axes of the first operand stand in square brackets"),
        ("b [n] c, b j", "one arrow `->` is needed"),
        ("b [n] c, b j -> b j", "the result must have the axis `c`"),
        ("b [n] c, b j -> b j c k", "the result can't have the axis `k`"),
        ("b [n] c, b n -> b n c", "the indexed axis `n` can't be an axis of an index"),
        ("b [n c], b j -> b j", "2 indexed axes take 2 index operands, or one with `[2]`"),
        ("b [n] c, [b j] -> c", "only a single index operand has an axis of coordinates"),
        ("b [...] c, b j -> b j c", "`...` can't be indexed"),
        ("b [(n c)], b j -> b j", "parentheses don't nest"),
        ("[b n c], b [2] -> b", "the indexed axis `b` can't be an axis of an index"),
    ],
)
def test_what_is_wrong_with_a_pattern_is_said(pattern: str, message: str) -> None:
    assert str(error("gather", {"pattern": pattern}, "2 3 4", "int64: 2 5")) == f'pattern "{pattern}": {message}'


def test_operands_must_agree() -> None:
    pattern = "b [n] c, b j -> b j c"
    assert str(error("gather", {"pattern": pattern}, "2 3 4", "int64: 3 5")) == (
        f'`b` in "{pattern}" is 2, but axis 0 of int64[3, 5] has 3'
    )
    assert str(error("gather", {"pattern": pattern}, "2 3 4", "2 5")) == "`gather` takes int values for `index`"
    raised = error("gather", {"pattern": pattern}, "2 3 4")
    assert str(raised) == f'pattern "{pattern}" takes 2 operands'
    assert str(error("gather", {"pattern": "[h w d], p [3] -> p"}, "2 3 4", "int64: 5 2")) == (
        '`3` in "[h w d], p [3] -> p" is 3, but axis 1 of int64[5, 2] has 2'
    )
    raised = error("gather", {"pattern": "[h w d], p [k] -> p"}, "2 3 4", "int64: 5 2")
    assert str(raised) == '"[h w d], p [k] -> p" indexes 3 axes, so its axis of coordinates has that many'
    pattern = "b [n] c, b j, b j c"
    raised = error("scatter", {"pattern": pattern}, "2 3 4", "int64: 2 5", "int64: 2 5 4")
    assert str(raised) == "`scatter` takes values of the table's dtype"
    check("scatter", {"pattern": f"{pattern} -> b [n] c"}, "2 3 4", "int64: 2 5", "2 5 4")
    raised = error("scatter", {"pattern": f"{pattern} -> b c n"}, "2 3 4", "int64: 2 5", "2 5 4")
    assert str(raised) == f'pattern "{pattern} -> b c n": the result is composed as the first operand'
    raised = error("scatter", {"pattern": "[n] c, j c"}, "3 4", "5 4")
    assert (str(raised), raised.found) == ("`scatter` takes a table, indices and values", "2 operands")


def test_index_select() -> None:
    N = sym("N")
    check("index_select", {"dim": 2, "index": [3, 0, -1]}, "2 3 4", reference=lambda x: x[:, :, [3, 0, 3]])
    check("index_select", {"dim": 0}, "5 2", "int64: 3", high=5, reference=lambda x, i: x[i])
    check("index_select", {"dim": 0}, "5 2", "int8: 3", high=5, reference=lambda x, i: x[i.long()])
    assert [str(c) for c, _ in infer("index_select", {"dim": 0, "index": 7}, [N, 2]).guards] == ["8 <= N"]
    assert str(error("index_select", {"dim": 0, "index": 5}, "5 2")) == "index 5 must lie on axis 0 of [5, 2]"
    raised = error("index_select", {"dim": 0}, "5 2")
    assert str(raised) == "`index_select` takes either the attribute `index` or a second operand"


def test_one_hot() -> None:
    check("one_hot", {"num_classes": 5}, "int64: 2 3", high=5, reference=lambda x: F.one_hot(x, 5))
    check("one_hot", {"num_classes": 5}, "uint8: 2 3", high=5, reference=lambda x: F.one_hot(x.long(), 5))
