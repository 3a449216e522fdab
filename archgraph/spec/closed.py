"""Reading closed files: typed graphs as they are, written by `archgraph.spec.dump`.

A closed file says `closed: true` and has no params. Its nodes are those of the typed graph, one each:

``{op: linear, in: x, out_features: 4}``
    an op with its attributes; ``share`` is the path of the node whose weights it uses, ``weights`` are given ones,
    ``regions`` the blocks that a higher-order op calls.
``{call: mlp, in: x, repeat: 12, late: {p: 0.1 * turn / 11}}``
    a call of a block, or a chain of that many turns.
``{formula: a + b, in: {a: x, b: y}}``
    element-wise arithmetic; without ``in`` on the values that it names.

``in`` has null for an absent operand; ``types`` states the token grids that inference does not find by itself. Blocks
and inputs whose names are no identifiers bear them under ``name``. The file's ``symbols`` are known in every body.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from archgraph.ir.dim import Dim, Num
from archgraph.ir.graph import Graph, Node, ValueRef
from archgraph.ir.real import Late
from archgraph.ir.types import TensorType
from archgraph.ops.base import AttributeValueError, Op, OpError, check_operands, get_op
from archgraph.ops.higher import Regional
from archgraph.ops.verify import VerifyError, verify
from archgraph.spec.elaborate import root_tensor, symbols_of
from archgraph.spec.explain import Call
from archgraph.spec.expr import Expr, Name, walk
from archgraph.spec.expr import compile as compile_expr
from archgraph.spec.formula import close
from archgraph.spec.frame import FAULTS, MAX_DEPTH, Frame
from archgraph.spec.memo import file_scope
from archgraph.spec.model import Block, Closed
from archgraph.spec.patterns import ShapePattern
from archgraph.spec.plan import NodePlan
from archgraph.spec.plan_refs import RefPlan
from archgraph.spec.values import UNKNOWN, Ref, Values, is_value, tidy
from archgraph.spec.yaml import YList, YMap, span_of

if TYPE_CHECKING:
    from archgraph.ir.diagnostics import Collector
    from archgraph.spec.compile import Compiler
    from archgraph.spec.compile_slots import At

__all__ = ["NODE_KEYS", "ClosedPlan", "closed_graph", "finish_closed", "open_frame"]

FORMS: Final = ("op", "call", "formula")
#: Keys of a node that are no attributes of its op.
NODE_KEYS: Final = (*FORMS, "in", "repeat", "late", "share", "weights", "regions", "types", "unused", "frozen")


def declare_closed(block: Block, raw: YMap, faults: Collector) -> None:
    """Read what a block of a closed file says of its graph."""
    from archgraph.spec.compile import Compiler

    compiler = Compiler(block, faults)
    name = raw.get("name", block.name)
    if not isinstance(name, str):
        faults.error("name/form", span_of(raw, "name"), "`name` is a text", found=str(name))
        name = block.name
    late = spellings(raw.get("late", []))
    if late is None:
        faults.error("late/form", span_of(raw, "late"), "`late` is a list of names")
        late = {}
    args = _recorded(compiler, raw.get("args", YMap(raw.file, raw.mark)), raw, "args")
    block.closed = Closed(name, args, late)


def spellings(raw: Any) -> dict[str, str] | None:
    """Names by their spelling in the file: a list of them, or a mapping where these differ; None if it is neither."""
    if isinstance(raw, Mapping) and all(isinstance(v, str) for v in raw.values()):
        return {str(k): v for k, v in raw.items()}
    if isinstance(raw, list) and all(isinstance(v, str) for v in raw):
        return {v: v for v in raw}
    return None


def _recorded(c: Compiler, raw: Any, container: Any, key: Any) -> Any:
    """A recorded argument: plain data, texts as they stand; ``{expr: C // 2}`` is computed."""
    if isinstance(raw, YMap):
        if list(raw) == ["expr"]:
            tree = c.expr(raw["expr"], raw, "expr")
            return (lambda env: None) if tree is None else compile_expr(tree)
        items = [(str(k), _recorded(c, v, raw, k)) for k, v in raw.items()]
        return lambda env: tuple([(k, v(env)) for k, v in items])
    if isinstance(raw, YList):
        parts = [_recorded(c, v, raw, k) for k, v in enumerate(raw)]
        return lambda env: tuple([v(env) for v in parts])
    return lambda env: raw


# -- compiling -----------------------------------------------------------------------------------------------------


def compile_node(c: Compiler, raw: Any, container: Any, key: Any) -> ClosedPlan | None:
    """Compile one node."""
    if not isinstance(raw, YMap):
        c.fault("node/form", span_of(container, key), "a node of a closed file is a mapping", found=str(raw))
        return None
    forms = [form for form in FORMS if form in raw]
    if len(forms) != 1:
        c.fault("node/form", span_of(raw), "a node of a closed file is one of " + ", ".join(FORMS))
        return None
    plan = ClosedPlan(c.at(raw, forms[0]))
    sound = {"op": _compile_op, "call": _compile_call, "formula": _compile_formula}[forms[0]](c, plan, raw)
    plan.flags = frozenset(flag for flag in ("unused", "frozen") if raw.get(flag) is True)
    plan.share = _share(c, raw)
    plan.given = _references(c, raw, "weights")
    plan.types = _types(c, raw)
    late = raw.get("late", {})
    if not isinstance(late, Mapping):
        c.fault("late/form", span_of(raw, "late"), "`late` is a mapping from late names to numbers")
        late = {}
    refs: set[str] = set()
    plan.late = [(str(k), c.evaluator(v, late, k, refs)) for k, v in late.items()]
    return plan if sound else None


def _compile_op(c: Compiler, plan: ClosedPlan, raw: YMap) -> bool:
    cls = get_op(str(raw["op"]))
    if cls is None:
        c.target(raw["op"], raw, "op")
        return False
    plan.cls = cls
    plan.operands = _operands(c, raw)
    refs: set[str] = set()
    for k in raw:
        if k not in NODE_KEYS:
            plan.attrs[str(k)] = (*c.attribute_of(cls, str(k), raw[k], raw, k, refs), c.at(raw, k))
    if "repeat" in raw:
        c.unknown_key(raw, "repeat", NODE_KEYS, "an op of a closed file")
    regions = raw.get("regions", [])
    plan.callees = [b for k in range(len(regions)) if (b := _block(c, regions, k)) is not None]
    return len(plan.callees) == len(regions)


def _compile_call(c: Compiler, plan: ClosedPlan, raw: YMap) -> bool:
    known = ("call", "in", "repeat", "late", "share", "weights", "types", "unused", "frozen")
    for k in raw:
        if k not in known:
            c.unknown_key(raw, k, known, "a call")
    block = _block(c, raw, "call")
    plan.operands = _operands(c, raw)
    plan.callees = [] if block is None else [block]
    if "repeat" in raw:
        plan.turns = c.evaluator(raw["repeat"], raw, "repeat", set())
    return block is not None


def _compile_formula(c: Compiler, plan: ClosedPlan, raw: YMap) -> bool:
    known = ("formula", "in", "types", "unused", "frozen")
    for k in raw:
        if k not in known:
            c.unknown_key(raw, k, known, "a formula of a closed file")
    plan.tree = c.expr(raw["formula"], raw, "formula")
    if plan.tree is None:
        return False
    if "in" in raw:
        named = _references(c, raw, "in")
    else:
        own = formula_names(plan.tree, {"inf", *c.file.symbols, *c.block.closed.late} if c.block.closed else set())
        named = [(n, c.ref(n, raw, "formula")) for n in own]
    plan.operand_names = tuple(n for n, _ in named)
    plan.operands = [r for _, r in named]
    return True


def formula_names(tree: Expr, numbers: Iterable[str] = ()) -> list[str]:
    """Names in a formula in the order of their first use, but for those of numbers."""
    found = dict.fromkeys(e.name for e in walk(tree) if isinstance(e, Name))
    return [n for n in found if n not in numbers]


def _block(c: Compiler, container: Any, key: Any) -> Block | None:
    block = c.file.blocks.get(str(container[key]))
    if block is None:
        c.fault("op/unknown", span_of(container, key), f"there is no block called `{container[key]}`")
    return block


def _operands(c: Compiler, raw: YMap) -> list[RefPlan | None]:
    given = raw.get("in", [])
    if not isinstance(given, YList):
        return [c.ref(given, raw, "in")] if "in" in raw else []
    return [None if v is None else c.ref(v, given, k) for k, v in enumerate(given)]


def _references(c: Compiler, raw: YMap, key: str) -> list[tuple[str, RefPlan | None]]:
    given = raw.get(key, {})
    if not isinstance(given, Mapping):
        c.fault(f"{key}/form", span_of(raw, key), f"`{key}` is a mapping from names to values here")
        return []
    return [(str(k), None if v is None else c.ref(v, given, k)) for k, v in given.items()]


def _share(c: Compiler, raw: YMap) -> tuple[str, ...] | None:
    path = raw.get("share")
    return None if path is None else tuple(str(path).split("."))


def _types(c: Compiler, raw: YMap) -> list[ShapePattern | None] | None:
    given = raw.get("types")
    if given is None:
        return None
    if not isinstance(given, YList):
        c.fault("types/form", span_of(raw, "types"), "`types` is a list of shapes, one for each output")
        return None
    return [None if v is None else c.pattern(v, given, k) for k, v in enumerate(given)]


# -- running -------------------------------------------------------------------------------------------------------


class ClosedPlan(NodePlan):
    """A node of a closed file: adds exactly the node that it describes."""

    __slots__ = (
        "attrs",
        "callees",
        "cls",
        "given",
        "late",
        "operand_names",
        "operands",
        "share",
        "tree",
        "turns",
        "types",
    )

    def __init__(self, at: At) -> None:
        super().__init__(at)
        self.cls: type[Op] | None = None
        self.attrs: dict[str, tuple[bool, Any, At]] = {}
        self.operands: list[RefPlan | None] = []
        self.operand_names: tuple[str, ...] = ()
        self.callees: list[Block] = []
        self.turns: tuple[bool, Any] = (True, 1)
        self.tree: Expr | None = None
        self.late: list[tuple[str, tuple[bool, Any]]] = []
        self.share: tuple[str, ...] | None = None
        self.given: list[tuple[str, RefPlan | None]] = []
        self.types: list[ShapePattern | None] | None = None

    def run(self, f: Frame, it: Any, name: str) -> Any:
        values = [None if p is None else p.get(f, None, name) for p in self.operands]
        given = [(n, None if p is None else p.get(f, None, name)) for n, p in self.given]
        graphs = [closed_graph(f, block, name) for block in self.callees]
        if any(v is UNKNOWN for v in (*values, *(v for _, v in given))) or None in graphs:
            return UNKNOWN
        for v in (*values, *(v for _, v in given)):
            if v is not None and not isinstance(v, Ref):
                raise OpError("an operand is one tensor", hint="one of several outputs is `node.0`")
        callees = tuple(g for g in graphs if g is not None)
        types = tuple(None if v is None else v.type for v in values)
        op, outs = self.typed(f, values, types, callees)
        index = f.append(
            Node(
                name,
                op,
                tuple(_ref(v) for v in values),
                self.stated(f, outs, name),
                callees,
                self.count(f),
                self.share,
                tuple((n, v if const else f.value(_with_turn(v))) for n, (const, v) in self.late),
                tuple((n, _ref(v)) for n, v in given),
                self.flags,
                f.span,
            )
        )
        refs = f.refs(index)
        return refs[0] if len(refs) == 1 else Values(refs)

    def typed(
        self, f: Frame, values: list[Any], types: tuple[Any, ...], callees: tuple[Graph, ...]
    ) -> tuple[Op | None, tuple[TensorType, ...]]:
        """The op and the types of the outputs."""
        if self.tree is not None:
            named = dict(zip(self.operand_names, values, strict=True))
            tree, names, _ = close(f, self.tree, None, named=named)
            cls = get_op("formula")
            assert cls is not None
            op = cls((tree, names))
        elif self.cls is None:
            (callee,) = callees
            if types != callee.input_types:
                wanted, found = (", ".join(map(str, t)) or "nothing" for t in (callee.input_types, types))
                raise OpError(f"`{callee.name}` takes other values", wanted, found)
            return None, callee.output_types
        else:
            op = self.op(f, self.cls)
        if callees or isinstance(op, Regional):
            if not isinstance(op, Regional):
                raise OpError(f"`{op.op_name}` takes no regions")
            return op, op.given(types, *[g.output_types for g in callees])
        check_operands(type(op), types)
        outs = op.infer(f, *types)
        return op, outs if isinstance(outs, tuple) else (outs,)

    def op(self, f: Frame, cls: type[Op]) -> Op:
        """The op with its attributes, whose names are sizes and late values alone."""
        found: dict[str, Any] = {}
        for key, (const, value, at) in self.attrs.items():
            if const:
                found[key] = value
                continue
            names = getattr(value, "names", ())
            try:
                found[key] = tidy(value({n: f.env[n] for n in names if n in f.env and not is_value(f.env[n])}))
            except FAULTS as error:
                error.at = getattr(error, "at", None) or at()  # type: ignore[union-attr]
                raise
        try:
            return cls.from_mapping(found)
        except AttributeValueError as error:
            raise OpError(f"an attribute of `{cls.op_name}`", error.expected, error.found) from None

    def count(self, f: Frame) -> Num:
        """How many turns."""
        const, value = self.turns
        n = value if const else f.value(value)
        if not isinstance(n, Dim) and not (type(n) is int and n >= 1):
            raise OpError("`repeat` takes a number of turns", "a whole number of at least 1", str(n))
        return n

    def stated(self, f: Frame, types: tuple[TensorType, ...], name: str) -> tuple[TensorType, ...]:
        """The types as ``types`` states them: token grids, and sizes in words that the conditions make equal."""
        if self.types is None:
            return types
        if len(self.types) != len(types):
            raise OpError(f"`{name}` has {len(types)} outputs; `types` states {len(self.types)}")
        found: list[TensorType] = []
        for pattern, t in zip(self.types, types, strict=True):
            said = t if pattern is None else pattern.build(dict(f.env), t.dtype, name)
            if said != t and not f.facts.same(said.shape, t.shape):
                raise OpError(f"`{name}` has another type", str(said), str(t))
            found.append(said)
        return tuple(found)


def _ref(value: Any) -> ValueRef | None:
    return None if value is None else value.ref


def _with_turn(fn: Any) -> Any:
    turn = Late("turn")

    def run(env: Mapping[str, Any]) -> Any:
        return fn({**env, "turn": turn})

    run.names = getattr(fn, "names", ())  # type: ignore[attr-defined]
    return run


def open_frame(f: Frame, block: Block) -> None:
    """Bind what every body of a closed file sees."""
    assert block.closed is not None
    f.env.update((spelling, Late(name)) for spelling, name in block.closed.late.items())


def closed_graph(f: Frame, block: Block, name: str) -> Graph | None:
    """The typed graph of a block of a closed file, made once for the values of the file's symbols; None if it fails."""
    session = f.session
    scope = file_scope(session, block.file)
    symbols = tuple((s, f.env.get(s, scope.get(s, n))) for s, n in symbols_of(block.file).items())
    key = ("closed", block, symbols)
    if key in session.memo:
        known: Graph | None = session.memo[key]
        return known
    if session.depth > MAX_DEPTH:
        raise OpError(f"blocks call one another more than {MAX_DEPTH} deep; is `{block.name}` calling itself?")
    trace = (Call(f.span, block.name, f.path + name), *f.trace)
    inner = Frame(session, block, dict(symbols), trace)
    session.depth += 1
    faults = len(session.faults)
    try:
        open_frame(inner, block)
        for i in block.inputs.values():
            inner.span = i.span
            inner.env[i.name] = root_tensor(inner, i, None, i.called, i.name)
        for r in block.requires:
            inner.span = r.span
            inner.require(inner.condition(r), r.why)
        assert block.plan is not None
        block.plan.run(inner, None)
        found = finish_closed(inner, block) if len(session.faults) == faults else None
    except FAULTS as error:
        inner.caught(error, inner.span)
        found = None
    finally:
        session.depth -= 1
    if len(session.faults) == faults:
        session.memo[key] = found
    return found


def finish_closed(f: Frame, block: Block) -> Graph | None:
    """The graph of a frame, nothing left out."""
    plan, closed = block.plan, block.closed
    assert plan is not None
    assert closed is not None
    outputs: list[tuple[str, ValueRef]] = []
    for o in plan.outputs or ():
        value = o.ref.get(f, None, o.name)
        if not isinstance(value, Ref):
            f.fault("type/output", o.at(), f"output `{o.name}` of `{block.name}` is no tensor")
            return None
        outputs.append((o.name, value.ref))
    graph = f.finish(tuple(outputs), closed.args(f.env), closed.name, whole=True)
    try:
        verify(graph)
    except VerifyError as error:
        for text in error.violations:
            f.fault("closed/unsound", block.span, text)
        return None
    return graph
