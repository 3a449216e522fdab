"""Writing a typed graph as a closed file: YAML that loads as the very same graph.

>>> archgraph.loads(dump(graph)).graph() == graph

`archgraph.spec.closed` describes the form. Closed means that the graph depends on nothing outside: its late names, if
it has any, are declared, and its sizes are numbers or symbols.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.ir.dim import Cond, Dim, Num, sym
from archgraph.ir.expr import Expr, Host, replace, walk
from archgraph.ir.expr import Name as NameExpr
from archgraph.ir.graph import Graph, Guard, Node, ValueRef
from archgraph.ir.real import Late, Real, substitute
from archgraph.ir.reserved import RESERVED
from archgraph.ir.types import Layout, TensorType
from archgraph.ops.base import Op, OpError
from archgraph.ops.higher import Regional
from archgraph.spec.closed import NODE_KEYS, formula_names
from archgraph.spec.names import bad_name
from archgraph.spec.yaml_dump import dump_yaml

__all__ = ["dump"]


def dump(graph: Graph) -> str:
    """A graph as the text of a closed spec file.

    `archgraph.spec.load.loads` of the text gives an equal graph: names, types with their token grids, late values,
    shared and given weights, regions, flags and guards are kept; of the ``source`` and positions nothing is.

    Raises
    ------
    SpecError
        If something in it has no spelling, such as a weight law made in Python.
    """
    return dump_yaml(_Writer(graph).tree())


class _Writer:
    """One graph and all below it, with the names that these have in the file."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.graphs = _distinct(graph)
        taken = _words(self.graphs)
        self.symbols: dict[str, str] = {}
        for name in sorted(_symbols(self.graphs)):
            self.symbols[name] = _free(name, taken)
        self.renamed: dict[str, Any] = {n: sym(s) for n, s in self.symbols.items() if n != s}
        self.late: dict[str, str] = {}
        for name in sorted(_late(self.graphs)):
            self.late[name] = _free(name, taken)
        self.renamed.update((n, Late(s)) for n, s in self.late.items() if n != s)
        #: Name of the graph itself, where it stands under `graphs`.
        self.root = _identifier(graph.name, "graph")
        blocks = {self.root}
        #: Name in the file of each graph below the first, by signature.
        self.blocks: dict[Any, str] = {}
        for signature, g in self.graphs.items():
            if g is not graph:
                self.blocks[signature] = _free(_identifier(g.name, "block"), blocks)

    def tree(self) -> dict[str, Any]:
        """The file."""
        g = self.graph
        found: dict[str, Any] = {"archgraph": 1, "name": g.name, "closed": True}
        if self.symbols:
            plain = all(n == s for n, s in self.symbols.items())
            found["symbols"] = list(self.symbols) if plain else {s: n for n, s in self.symbols.items()}
        if g.args or g.late:
            found["graphs"] = {self.root: self.block(g, self.root)}
        else:
            found.update(self.block(g, g.name))
        blocks = {
            self.blocks[signature]: self.block(below, self.blocks[signature])
            for signature, below in self.graphs.items()
            if below is not g
        }
        return {**found, "blocks": blocks} if blocks else found

    # -- graphs ----------------------------------------------------------------------------------------------------

    def block(self, g: Graph, name: str) -> dict[str, Any]:
        """A graph under its name in the file."""
        found: dict[str, Any] = {}
        if name != g.name:
            found["name"] = g.name
        if g.args:
            found["args"] = {k: self.recorded(v) for k, v in g.args}
        if g.late:
            plain = all(n == self.late[n] for n in g.late)
            found["late"] = list(g.late) if plain else {self.late[n]: n for n in g.late}
        values = self.names(g)
        if g.inputs:
            found["inputs"] = {values[(-1, k)]: self.input(n, t, values[(-1, k)]) for k, (n, t) in enumerate(g.inputs)}
        typed = [self.typed(g, node) for node in g.nodes]
        seen = {cond for _, conditions in typed for cond in conditions}
        requires = [self.requirement(guard) for guard in g.guards if guard.cond not in seen]
        if requires:
            found["requires"] = requires
        found["graph"] = {n.name: self.node(n, values, types) for n, (types, _) in zip(g.nodes, typed, strict=True)}
        found["outputs"] = {n: values[ref] for n, ref in g.outputs}
        return found

    def names(self, g: Graph) -> dict[ValueRef, str]:
        """What the values of a graph are called in its body."""
        taken = {n.name for n in g.nodes} | set(self.symbols.values()) | set(self.late.values())
        found: dict[ValueRef, str] = {}
        for k, (name, _) in enumerate(g.inputs):
            found[(-1, k)] = _free(_identifier(name, "x"), taken)
        for k, node in enumerate(g.nodes):
            for out in range(len(node.types)):
                found[(k, out)] = node.name if len(node.types) == 1 else f"{node.name}.{out}"
        return found

    def input(self, name: str, t: TensorType, own: str) -> Any:
        """An input's declaration."""
        shape = self.shape(t)
        if own == name and t.dtype == "float":
            return shape
        found: dict[str, Any] = {"shape": shape}
        if own != name:
            found["name"] = name
        if t.dtype != "float":
            found["dtype"] = t.dtype
        return found

    def requirement(self, guard: Guard) -> dict[str, Any]:
        """A guard that no op of the graph records by itself."""
        return {"that": str(self.condition(guard.cond)), "why": guard.why}

    def condition(self, cond: Cond) -> Cond:
        """A condition over the symbols as they are spelled."""
        return cond.renamed(self.renamed)

    def typed(self, g: Graph, node: Node) -> tuple[Any, list[Cond]]:
        """What inference does not find by itself (None: nothing), and the conditions that it finds."""
        recorder = _Recorder()
        op = node.op
        if op is None:
            found: Any = node.callee.output_types
        else:
            assert isinstance(op, Op)
            types = tuple(None if r is None else g.type_of(r) for r in node.inputs)
            try:
                if isinstance(op, Regional):
                    found = op.given(types, *[c.output_types for c in node.callees])  # type: ignore[arg-type]
                else:
                    found = op.infer(recorder, *types)
            except OpError as error:
                raise _unwritable(f"`{g.name}.{node.name}`: {error}") from None
        outs = found if isinstance(found, tuple) else (found,)
        if [t.key for t in outs] == [t.key for t in node.types]:
            return None, recorder.conditions
        return [None if a.key == b.key else self.shape(b) for a, b in zip(outs, node.types, strict=True)], (
            recorder.conditions
        )

    # -- nodes -----------------------------------------------------------------------------------------------------

    def node(self, n: Node, values: dict[ValueRef, str], types: Any) -> dict[str, Any]:
        """A node of a closed file."""
        operands: Any = [None if r is None else values[r] for r in n.inputs]
        found: dict[str, Any]
        if n.op is None:
            found = {"call": self.blocks[_signature(n.callee)], "in": operands}
        elif n.op.op_name == "formula":
            tree, names = n.op.values
            found = {"formula": self.text(tree)}
            if list(names) == operands == formula_names(tree):
                operands = {}
            else:
                operands = dict(zip(names, operands, strict=True))
            found["in"] = operands
        else:
            found = {"op": n.op.op_name, "in": operands, **self.attributes(n.op)}
            if n.callees:
                found["regions"] = [self.blocks[_signature(c)] for c in n.callees]
        if operands == [] or operands == {}:
            del found["in"]
        elif len(operands) == 1 and isinstance(operands, list) and operands[0] is not None:
            found["in"] = operands[0]
        if n.count != 1:
            found["repeat"] = self.plain(n.count)
        if n.late:
            found["late"] = {k: self.plain(v) for k, v in n.late}
        if n.share is not None:
            found["share"] = ".".join(n.share)
        if n.weights:
            found["weights"] = {k: None if r is None else values[r] for k, r in n.weights}
        if types is not None:
            found["types"] = types
        for flag in sorted(n.flags - {"piece"}):
            found[flag] = True
        return found

    def attributes(self, op: Any) -> dict[str, Any]:
        """The attributes that differ from their defaults."""
        found: dict[str, Any] = {}
        for name, value in op.attrs().items():
            a = op.by_name.get(name)
            kind = a.kind if a is not None else op.extra
            if name in NODE_KEYS:
                raise _unwritable(f"`{op.op_name}` has an attribute called `{name}`")
            found[name] = self.plain(kind.written(value))
        return found

    # -- values ----------------------------------------------------------------------------------------------------

    def plain(self, value: Any) -> Any:
        """A value of an attribute as YAML data, numbers that are not known as expressions."""
        if isinstance(value, (Dim, Real, Expr)):
            return self.text(value)
        if isinstance(value, (list, tuple)):
            return [self.plain(v) for v in value]
        if isinstance(value, dict):
            return {k: self.plain(v) for k, v in value.items()}
        if isinstance(value, float) and value in (float("inf"), float("-inf")):
            return str(value)
        return value

    def text(self, value: Any) -> str:
        """A size, late number or formula with the names that the file has for symbols."""
        if isinstance(value, Expr):
            return str(replace(value, self.host))
        return str(substitute(value, self.renamed) if self.renamed else value)

    def host(self, e: Expr) -> Expr | None:
        """A number inside a formula, renamed."""
        if not isinstance(e, Host) or not self.renamed:
            return None
        return Host(substitute(e.value, self.renamed))

    def shape(self, t: TensorType) -> list[Any]:
        """A type's axes as a shape pattern."""
        return [self.axis(t.layout_of(k), d) for k, d in enumerate(t.shape)]

    def axis(self, layout: Layout | None, size: Num) -> Any:
        """One axis; a token grid as ``P + (H W)``."""
        if layout is None or len(layout.grid) < 2:
            return self.plain(size)
        grid = "(" + " ".join(self.text(g).replace(" ", "") for g in layout.grid) + ")"
        return grid if layout.prefix == 0 else f"{self.text(layout.prefix)} + {grid}"

    def recorded(self, value: Any) -> Any:
        """A recorded argument."""
        if isinstance(value, (Dim, Real)):
            return {"expr": self.text(value)}
        if isinstance(value, (tuple, list)):
            return [self.recorded(v) for v in value]
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise _unwritable(f"an argument {value!r} is no plain data")


class _Recorder:
    """Keeps the conditions that ops ask for."""

    def __init__(self) -> None:
        self.conditions: list[Cond] = []

    def require(self, cond: bool | Cond, why: str) -> None:
        if cond is False:
            raise OpError(why)
        if isinstance(cond, Cond):
            self.conditions.append(cond)


def _unwritable(message: str) -> SpecError:
    return SpecError(Diagnostic("dump/unwritable", None, f"the graph can't be written: {message}"))


# -- names ---------------------------------------------------------------------------------------------------------


def _free(name: str, taken: set[str]) -> str:
    """``name``, with a number behind it if it is taken; takes it."""
    found, k = name, 2
    while found in taken:
        found, k = f"{name}_{k}", k + 1
    taken.add(found)
    return found


def _identifier(name: str, otherwise: str) -> str:
    """A name as one that the language allows for inputs and blocks."""
    word = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name) or otherwise
    if word[0].isdigit():
        word = f"{otherwise}_{word}"
    return word if bad_name(word) is None else f"{otherwise}_{word}"


def _signature(graph: Graph) -> Any:
    """What tells graphs apart in a file: all that is equal, and the token grids, which equality leaves out."""
    known = graph._cache.get("signature")
    if known is None:
        types = tuple(t.layout for _, t in graph.inputs), tuple(t.layout for n in graph.nodes for t in n.types)
        below = tuple(_signature(c) for n in graph.nodes for c in n.callees)
        known = graph._cache["signature"] = (graph, types, tuple(hash(s) for s in below))
    return known


def _distinct(graph: Graph) -> dict[Any, Graph]:
    """Every distinct graph, callers first."""
    found: dict[Any, Graph] = {_signature(graph): graph}
    waiting = [graph]
    while waiting:
        for node in waiting.pop(0).nodes:
            for callee in node.callees:
                signature = _signature(callee)
                if signature not in found:
                    found[signature] = callee
                    waiting.append(callee)
    return found


def _values(graphs: Iterable[Graph]) -> Iterator[Any]:
    """Every attribute value, late value, argument and size."""
    for g in graphs:
        for _, t in g.inputs:
            yield from _type_values(t)
        yield from (v for _, v in g.args)
        yield from (a for guard in g.guards for a in guard.cond.sizes)
        for node in g.nodes:
            yield node.count
            yield from (v for _, v in node.late)
            for t in node.types:
                yield from _type_values(t)
            if node.op is not None:
                yield from node.op.values


def _type_values(t: TensorType) -> Iterator[Any]:
    yield from t.shape
    for _, layout in t.layout:
        yield layout.prefix
        yield from layout.grid


def _scalars(value: Any) -> Iterator[Any]:
    """Sizes and late numbers inside a value."""
    if isinstance(value, (Dim, Real)):
        yield value
    elif isinstance(value, (tuple, list)):
        for v in value:
            yield from _scalars(v)
    elif isinstance(value, Expr):
        for e in walk(value):
            if isinstance(e, Host):
                yield from _scalars(e.value)


def _symbols(graphs: dict[Any, Graph]) -> set[str]:
    found: set[str] = set()
    for value in _values(graphs.values()):
        for x in _scalars(value):
            found |= x.free - (x.late if isinstance(x, Real) else frozenset())
    return found


def _late(graphs: dict[Any, Graph]) -> set[str]:
    return {n for g in graphs.values() for n in g.late}


def _words(graphs: dict[Any, Graph]) -> set[str]:
    """Names that a symbol or late value can't be spelled as: of nodes, formula operands and literal words."""
    found = {"turn", "it", "inf", "training", "_", "true", "false", "null", *RESERVED}
    for g in graphs.values():
        for node in g.nodes:
            found.add(node.name)
            op: Any = node.op
            if op is None:
                continue
            for a in op.attributes:
                found.update(a.kind.words)
            for value in op.values:
                if isinstance(value, Expr):
                    found |= {e.name for e in walk(value) if isinstance(e, NameExpr)}
            if op.op_name == "formula":
                found.update(op.values[1])
    return found
