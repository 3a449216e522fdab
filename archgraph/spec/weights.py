"""Weights as values: the op ``weights``, and ops on all tensors of such a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archgraph.ir.diagnostics import Span
from archgraph.ir.dim import Num
from archgraph.ir.graph import Graph, Node
from archgraph.ir.types import TensorType
from archgraph.ops.base import Op, OpError, Weight, check_operands, get_op
from archgraph.ops.kinds import INITIALISERS, INT, STACKED
from archgraph.ops.source import Parameter
from archgraph.ops.transform.builder import Builder
from archgraph.ops.transform.weights import weights_as_inputs
from archgraph.spec.expr import Expr
from archgraph.spec.formula import close
from archgraph.spec.frame import Frame
from archgraph.spec.model import Block
from archgraph.spec.plan import NodePlan
from archgraph.spec.plan_op import OpPlan
from archgraph.spec.plan_refs import RefPlan
from archgraph.spec.values import UNKNOWN, Record, Ref, Values, Weights, flatten, holds_unknown, rebuild, template

if TYPE_CHECKING:
    from archgraph.spec.compile import Compiler
    from archgraph.spec.yaml import YMap

Tree = dict[str, "Tree | Weight"]


class WeightsPlan(NodePlan):
    """``op: weights``: parameters as a block (or op) would own them, each with further axes in front.

    Written ``{op: weights, of: block, shape: [h], example: {x: [n, d]}}``; ``example`` gives the types of the block's
    inputs, on which its weights depend. With ``values: list`` these tensors are the record, in the order of the
    weights' paths, and no parameters are made: so a record that went through a block's inputs as a list becomes one
    again.
    """

    __slots__ = ("example", "lead", "of", "values")
    explicit = True
    has_shape = True

    def __init__(self, at: Callable[[], Span | None]) -> None:
        super().__init__(at)
        self.of = OpPlan(at)
        self.lead: Any = None
        self.example: dict[str, Any] = {}
        self.values: RefPlan | None = None
        self.is_source = True

    @staticmethod
    def compile(c: Compiler, raw: YMap, refs: set[str]) -> NodePlan | None:
        """Compile the YAML form."""
        from archgraph.spec.node_words import META
        from archgraph.spec.yaml import YMap as Map
        from archgraph.spec.yaml import span_of

        plan = WeightsPlan(c.at(raw, "op"))
        known = ("of", "shape", "example", "values")
        for k in raw:
            if k not in known and k not in META:
                c.unknown_key(raw, k, known, "`weights`")
        example = raw.get("example")
        if "of" not in raw or not isinstance(example, Map):
            c.fault("weights/form", span_of(raw), "`weights` says `of` which block, and an `example` of its inputs")
            return None
        c.aim(plan.of, raw["of"], raw, "of", refs)
        plan.lead = c.evaluator(raw["shape"], raw, "shape", refs) if "shape" in raw else (True, ())
        plan.example = {str(k): c.evaluator(v, example, k, refs) for k, v in example.items()}
        if "values" in raw:
            plan.values = c.ref(raw["values"], raw, "values")
            if plan.values is not None:
                refs |= plan.values.refs
        if plan.of.target is None and plan.of.late_target is None:
            return None
        return plan

    def run(self, f: Frame, it: Any, name: str) -> Any:
        lead = self.numbers(f, self.lead)
        declared = declared_weights(f, self, {k: self.numbers(f, v) for k, v in self.example.items()})
        tree = as_tree(declared)
        if self.values is not None:
            return self.given_values(f, it, name, tree, lead)
        graph = parameters(tree, lead, name)
        index = f.add(f.unique(name), None, (), graph.output_types, callees=(graph,), late=late_as_is(graph))
        return rebuild(structure(tree), iter(f.refs(index)))

    def given_values(self, f: Frame, it: Any, name: str, tree: Tree, lead: tuple[Num, ...]) -> Any:
        """Tensors at hand as a record."""
        assert self.values is not None
        found = self.values.get(f, it, name)
        if holds_unknown(found):
            return UNKNOWN
        refs = [r for _, r in flatten(found)]
        wanted = [(path, (*lead, *w.shape)) for path, w in leaves_of(tree)]
        if len(refs) != len(wanted):
            raise OpError(
                f"`{self.of.word}` has {len(wanted)} weights", ", ".join(p for p, _ in wanted), str(len(refs))
            )
        for (path, shape), r in zip(wanted, refs, strict=True):
            if len(r.type.shape) < len(shape) or tuple(r.type.shape[len(r.type.shape) - len(shape) :]) != shape:
                raise OpError(f"the value for `{path}` has another shape", str(list(shape)), str(r.type))
        return rebuild(structure(tree), iter(refs))

    def numbers(self, f: Frame, slot: tuple[bool, Any]) -> tuple[Num, ...]:
        """A shape slot's sizes."""
        const, value = slot
        found = value if const else f.value(value)
        if not isinstance(found, (tuple, list)):
            raise OpError("a shape is a list of sizes", "[n, d]", str(found))
        return tuple(INT.convert(n) for n in found)


def declared_weights(
    f: Frame, plan: WeightsPlan, example: Mapping[str, tuple[Num, ...]]
) -> tuple[tuple[str, Weight], ...]:
    """Path and declaration of each weight of a block (or op) that takes inputs of these shapes."""
    from archgraph.spec.block_call import call_block

    target, preset = plan.of.target, None
    if plan.of.late_target is not None:
        target, preset = plan.of.resolve(f)
    inner = Frame(f.session, f.block, f.env, f.trace)
    inner.span = f.span
    inputs = {k: inner.add_input(k, TensorType("float", shape)) for k, shape in example.items()}
    if isinstance(target, Block):
        call_block(inner, "call", target, dict(preset or ()), inputs)
        if not inner.nodes:
            return ()
        found = weights_as_inputs(inner.nodes[0].callee).weights
    else:
        op: Op = target.from_mapping(dict(preset or ()))
        found = tuple((w.name, w) for w in op.weights(*(r.type for r in inputs.values())) if not w.buffer)
    if not found:
        raise OpError(f"`{plan.of.word}` has no weights")
    return found


def as_tree(declared: Sequence[tuple[str, Weight]]) -> Tree:
    """Weights by the segments of their paths."""
    tree: Tree = {}
    for path, weight in declared:
        *heads, last = path.split(".")
        level = tree
        for head in heads:
            below = level.setdefault(head, {})
            assert isinstance(below, dict)
            level = below
        level[last] = weight
    return tree


def leaves_of(tree: Tree, prefix: str = "") -> list[tuple[str, Weight]]:
    """Path and declaration of each weight, in the order of `structure`."""
    found: list[tuple[str, Weight]] = []
    for key, below in tree.items():
        found += leaves_of(below, f"{prefix}{key}.") if isinstance(below, dict) else [(prefix + key, below)]
    return found


def structure(tree: Tree) -> Any:
    """The template of `archgraph.spec.values` for the record."""
    return ("weights", tuple((k, structure(v) if isinstance(v, dict) else None) for k, v in tree.items()))


def parameters(tree: Tree, lead: tuple[Num, ...], name: str) -> Graph:
    """A graph that owns the weights, at the same paths below it, each with axes in front."""
    b = Builder(name)
    outputs: list[tuple[str, Any]] = []
    for key, below in tree.items():
        if isinstance(below, dict):
            inner = parameters(below, lead, key)
            for (path, _), value in zip(inner.outputs, b.call(inner, (), key), strict=True):
                outputs.append((f"{key}.{path}", value.ref))
            continue
        law, args = below.init
        if law in STACKED and lead:
            args = (*args, ("stack", len(lead)))
        assert law in INITIALISERS
        op = Parameter(((*lead, *below.shape), (law, args), below.dtype))
        outputs.append((key, b.apply(op, name=key)[0].ref))
    return b.finish(outputs)


def late_as_is(graph: Graph) -> tuple[tuple[str, Any], ...]:
    """Late values of a graph that is called where they bear the same names."""
    from archgraph.ir.real import Late

    return tuple((n, Late(n)) for n in graph.late)


# -- ops on records ----------------------------------------------------------------------------------------------


def leaves(operands: Sequence[Any]) -> tuple[Weights, list[str], list[list[Any]]]:
    """The first record among operands, its paths, and the operands of each of its tensors.

    Records alike, and lists of as many values, go along tensor by tensor; other operands are the same for all.
    """
    first = next(v for v in operands if isinstance(v, Weights))
    shape = template(first)
    paths = [suffix.lstrip(".") for suffix, _ in flatten(first)]
    columns: list[list[Any]] = []
    for v in operands:
        if isinstance(v, Weights) and template(v) != shape:
            raise OpError("records of weights in one op must be alike", ", ".join(paths))
        many = isinstance(v, Weights) or (isinstance(v, (Values, Record)) and len(v) == len(paths))
        columns.append([r for _, r in flatten(v)] if many else [v] * len(paths))
    return first, paths, [list(row) for row in zip(*columns, strict=True)]


def apply_to_each(f: Frame, name: str, op: Op, operands: Sequence[Any], flags: frozenset[str]) -> Any:
    """An op on each tensor of a record; several outputs give several records."""
    first, paths, rows = leaves(operands)
    found: list[tuple[Ref, ...]] = []
    for path, row in zip(paths, rows, strict=True):
        types = tuple(None if v is None else v.type for v in row)
        check_operands(type(op), types)
        outs = op.infer(f, *types)
        if op.weights(*types):
            raise OpError(f"`{op.op_name}` has weights of its own, so it can't act on a record")
        own = f.unique(f"{name}_{path.replace('.', '_')}")
        inputs = tuple(None if v is None else v.ref for v in row)
        types = outs if isinstance(outs, tuple) else (outs,)
        found.append(f.refs(f.append(Node(own, op, inputs, types, flags=flags, origin=f.span))))
    shape = template(first)
    if len(found[0]) == 1:
        return rebuild(shape, iter([outs[0] for outs in found]))
    return Record((str(k), rebuild(shape, iter(column))) for k, column in enumerate(zip(*found, strict=True)))


def formula_of_each(f: Frame, name: str, tree: Expr, it: Any, record: Weights, flags: frozenset[str]) -> Any:
    """A formula on each tensor of a record."""
    cls = get_op("formula")
    assert cls is not None
    found: list[Any] = []
    for k, (path, _) in enumerate(flatten(record)):
        closed, names, values = close(f, tree, it, record, k)
        if any(v is UNKNOWN for v in values):
            return UNKNOWN
        op = cls((closed, names))
        out = op.infer(f, *(v.type for v in values))
        assert not isinstance(out, tuple)
        own = f.unique(f"{name}{path.replace('.', '_')}")
        index = f.append(Node(own, op, tuple(v.ref for v in values), (out,), flags=flags, origin=f.span))
        found.append(f.refs(index)[0])
    return rebuild(template(record), iter(found))
