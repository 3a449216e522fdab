"""Random instances of a rule's own pattern: small graphs that it must match, to check and to prove it with.

Names that nothing else fixes are drawn by the kind of attribute or param that binds them, sizes from 2 to 7. A rule's
``check:`` narrows names to candidates (a list), or says them by an expression over names above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, Final, NamedTuple

from archgraph.ir.expr import Host, Name, literal, replace
from archgraph.ir.graph import Graph, Node
from archgraph.ir.real import Real
from archgraph.ir.types import Layout, TensorType
from archgraph.ops.base import AttributeValueError, Op, OpError, check_operands, get_op
from archgraph.ops.kinds import BoolKind, FloatKind, IntKind, IntsKind, OptionalKind
from archgraph.rewrite.pattern import AttrPattern, Operand, PatternNode
from archgraph.rewrite.rule import Rule
from archgraph.spec.block_call import call_block
from archgraph.spec.expr import compile, parse
from archgraph.spec.frame import FAULTS, Frame, Session
from archgraph.spec.model import Block, OpRef, Param
from archgraph.spec.params import check_param, param_default
from archgraph.spec.values import UNKNOWN, Record, Ref, Values, flatten, tidy

__all__ = ["Instance", "Undrawable", "draw"]

TRIES: Final = 200


class Undrawable(Exception):
    """No instance was found; the text is the last reason."""


class Instance(NamedTuple):
    """A graph that holds the pattern, and the values of its names and of the rule's params."""

    graph: Graph
    env: Mapping[str, Any]
    settings: Mapping[str, Any]


def draw(rule: Rule, random: Random, session: Session | None = None) -> Instance:
    """A random instance whose conditions hold.

    Raises
    ------
    Undrawable
        If none is found in `TRIES` tries.
    """
    session = Session() if session is None else session
    reason = "nothing was tried"
    for _ in range(TRIES):
        try:
            return _Drawing(rule, random, session).draw()
        except (*FAULTS, AttributeValueError, _Again, TypeError) as error:
            reason = str(error)
    raise Undrawable(reason)


class _Again(Exception):
    pass


class _Drawing:
    def __init__(self, rule: Rule, random: Random, session: Session) -> None:
        self.rule = rule
        self.random = random
        self.session = session
        self.env: dict[str, Any] = {}
        self.settings: dict[str, Any] = {}

    def draw(self) -> Instance:
        rule, env = self.rule, self.env
        for name, raw in rule.check.items():
            if name not in env:
                env[name] = self._candidate(raw)
                if name in rule.params:
                    self.settings[name] = env[name]
        self._params(env)
        self.session.begin()
        f = Frame(self.session, rule.block, {}, ())
        values: dict[str, Any] = {}
        for name, i in rule.pattern.inputs.items():
            if i.optional and self.random.random() < 0.5:
                values[name] = None
                continue
            values[name] = f.add_input(name, self._type(i))
        last: Any = next(iter(values.values()), None)
        if not rule.pattern.inputs:
            last = f.add_input("x", self._operand_type(next(iter(rule.pattern.nodes.values()))))
        for p in rule.pattern.nodes.values():
            if p.when is not None and env.setdefault(p.when, self.random.random() < 0.5) is not True:
                source = self._operands(p, values, last)
                last = values[p.name] = source[0] if source else last
                continue
            last = values[p.name] = self._node(f, p, values, last)
        if self.session.faults:
            raise _Again(self.session.faults.diagnostics[0].message)
        self._params(env)
        for r in rule.requires:
            if not r.warn and r.fn(env) is not True:
                raise _Again(r.why)
        pattern = rule.pattern
        wanted = [Operand("node", pattern.root.name)] if pattern.outputs is None else [o for _, o in pattern.outputs]
        outputs: list[tuple[str, tuple[int, int]]] = []
        for k, o in enumerate(wanted):
            refs = [
                r for _, r in flatten(self._pick(values[o.name], o) if pattern.outputs is not None else values[o.name])
            ]
            outputs += [(f"y{k}_{j}", r.ref) for j, r in enumerate(refs)]
        graph = f.finish(tuple(outputs), (), "instance")
        graph = graph.replace(source=f"{rule.path}#instance")
        return Instance(graph, env, self.settings)

    # -- names -------------------------------------------------------------------------------------------------------

    def _candidate(self, raw: Any) -> Any:
        if isinstance(raw, list):
            chosen = self.random.choice(raw)
            return tidy(chosen) if isinstance(chosen, list) else self._candidate(chosen)
        if isinstance(raw, str):
            tree = parse(raw)
            return tidy(compile(tree)(self.env)) if tree.names <= self.env.keys() else raw
        return tidy(raw) if not isinstance(raw, Mapping) else raw

    def _params(self, env: dict[str, Any]) -> None:
        for name, p in self.rule.params.items():
            if name in self.settings:
                env[name] = check_param(p, self.settings[name])
                continue
            try:
                env[name] = param_default(p, env) if not p.required else self._of_param(p)
            except FAULTS:
                continue

    def _of_param(self, p: Param) -> Any:
        if p.kind == "bool":
            return self.random.random() < 0.5
        return self.random.randint(1, 4)

    def _size(self, name: str) -> Any:
        if name not in self.env:
            self.env[name] = self.random.randint(2, 7)
        return self.env[name]

    # -- values ------------------------------------------------------------------------------------------------------

    def _type(self, i: Any) -> TensorType:
        shape: list[Any] = []
        layouts: list[tuple[int, Layout]] = []
        for a in i.pattern.axes:
            if a.kind == "rest":
                shape += [self.random.randint(2, 4) for _ in range(self.random.randint(1, 2))]
                continue
            if a.kind == "any":
                shape.append(self.random.randint(2, 7))
                continue
            for e in (a.expr, a.prefix, *a.grid):
                for n in sorted(e.names) if e is not None else ():
                    if a.prefix is e and n not in self.env:
                        self.env[n] = self.random.randint(0, 2)
                    self._size(n)
            if a.kind == "grid":
                prefix = compile(a.prefix)(self.env) if a.prefix is not None else 0
                layout = Layout(prefix, tuple(compile(g)(self.env) for g in a.grid))
                layouts.append((len(shape), layout))
                shape.append(layout.length)
                continue
            shape.append(compile(a.expr)(self.env))
        if any(not isinstance(n, int) or n < 1 for n in shape):
            raise _Again("a size is none")
        return TensorType(i.dtype, tuple(shape), tuple(layouts))

    def _operand_type(self, p: PatternNode) -> TensorType:
        """A type for the operand of a node that declares no input."""
        rank = 4
        for t in p.targets:
            if isinstance(t, type) and issubclass(t, Op) and t.operands and t.operands[0].rank is not None:
                rank = t.operands[0].rank
            elif isinstance(t, Block) and t.inputs:
                rank = len(next(iter(t.inputs.values())).pattern.axes)
        return TensorType("float", tuple(self.random.randint(2, 7) for _ in range(rank)))

    def _operands(self, p: PatternNode, values: Mapping[str, Any], last: Any) -> list[Any]:
        if p.inputs is None:
            return [] if last is None or p.named is not None else [last]
        return [last if o.kind == "any" else self._pick(values[o.name], o) for o in p.inputs]

    def _pick(self, value: Any, o: Operand) -> Any:
        if isinstance(value, (Record, Values)):
            parts = list(value.values()) if isinstance(value, Record) else list(value)
            return value[o.out] if isinstance(o.out, str) and isinstance(value, Record) else parts[int(o.out)]
        return value

    def _node(self, f: Frame, p: PatternNode, values: Mapping[str, Any], last: Any) -> Any:
        if p.formula is not None:
            return self._formula(f, p, values, last)
        operands = self._operands(p, values, last)
        target: Any = self.random.choice(p.targets) if p.targets else get_op("relu")
        attrs = self._attributes(p, target)
        if isinstance(target, Block):
            names = list(target.inputs)
            given = dict(zip(names, operands, strict=False))
            if p.named is not None:
                given = {n: self._pick(values[o.name], o) for n, o in p.named.items() if o.kind != "any"}
            got = call_block(f, p.name, target, attrs, given)
            if got is UNKNOWN:
                raise _Again(self.session.faults.diagnostics[0].message if self.session.faults else "a block failed")
            return got
        cls: type[Op] = target
        if p.holder:
            self.env[p.holder] = OpRef(cls, ())
        op = cls.from_mapping(attrs)
        refs: list[Ref | None] = list(operands)
        if p.named is not None:
            by_name = {o.name: k for k, o in enumerate(cls.operands)}
            refs = [None] * len(cls.operands)
            for n, o in p.named.items():
                refs[by_name[n]] = self._pick(values[o.name], o)
        variadic = bool(cls.operands) and cls.operands[-1].variadic
        if not variadic:
            refs += [None] * (len(cls.operands) - len(refs))
        types = tuple(None if r is None else r.type for r in refs)
        check_operands(cls, types)
        outs = op.infer(f, *types)
        many = isinstance(outs, tuple)
        node = Node(
            p.name, op, tuple(None if r is None else r.ref for r in refs), outs if isinstance(outs, tuple) else (outs,)
        )
        got_refs = f.refs(f.append(node))
        if not many:
            return got_refs[0]
        names_of = list(op.outputs) if len(op.outputs) == len(got_refs) else [str(k) for k in range(len(got_refs))]
        return Record(zip(names_of, got_refs, strict=True))

    def _formula(self, f: Frame, p: PatternNode, values: Mapping[str, Any], last: Any) -> Any:
        assert p.formula is not None
        named = p.named or {}
        refs = {n: last if n == "it" else self._pick(values[o.name], o) for n, o in named.items()}
        for n in sorted(p.formula.names - refs.keys()):
            self.env.setdefault(n, round(self.random.uniform(0.5, 2.0), 3))
        tree = replace(
            p.formula, lambda e: self._constant(e.name) if isinstance(e, Name) and e.name not in refs else None
        )
        cls = get_op("formula")
        assert cls is not None
        op = cls.from_mapping({"expr": tree, "names": tuple(refs)})
        out = op.infer(f, *(r.type for r in refs.values()))
        assert not isinstance(out, tuple)
        return f.refs(f.append(Node(p.name, op, tuple(r.ref for r in refs.values()), (out,))))[0]

    def _constant(self, name: str) -> Any:
        value = self.env[name]
        return Host(value) if isinstance(value, Real) else literal(value)

    # -- attributes --------------------------------------------------------------------------------------------------

    def _attributes(self, p: PatternNode, target: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, want in p.attrs.items():
            value = self._attribute(want, target, name)
            if value is not _DEFAULT:
                found[name] = value
        return found

    def _attribute(self, want: AttrPattern, target: Any, name: str) -> Any:
        if want.kind == "const":
            return want.value
        if want.kind == "list":
            return tuple(self._attribute(w, None, name) for w in want.items)
        if want.kind == "bind":
            if want.name not in self.env:
                self.env[want.name] = self._of_kind(target, name)
            return self.env[want.name]
        if want.kind == "expr":
            assert want.expr is not None
            for n in sorted(want.expr.names):
                if n not in self.env:
                    self.env[n] = self.random.randint(1, 4)
            return compile(want.expr)(self.env)
        a = target.by_name.get(name) if isinstance(target, type) and issubclass(target, Op) else None
        return self._of_kind(target, name) if a is not None and a.required else _DEFAULT

    def _of_kind(self, target: Any, name: str) -> Any:
        """A value for a name that an attribute or argument binds."""
        random = self.random
        if isinstance(target, Block):
            p = target.params[name]
            if p.choices:
                return random.choice(p.choices)
            if isinstance(p.value, bool) or p.kind == "bool":
                return random.random() < 0.5
            if isinstance(p.value, float) or p.kind == "float":
                return p.value if p.value is not None else random.random()
            if isinstance(p.value, OpRef) or p.kind == "op":
                return p.value
            if isinstance(p.value, tuple):
                return p.value
            return random.randint(1, 4)
        if target is None:
            return random.randint(1, 3)
        a = target.by_name.get(name)
        kind = a.kind if a is not None else target.extra
        if isinstance(kind, OptionalKind):
            kind = getattr(kind, "kind", kind)
        if isinstance(kind, BoolKind):
            return random.random() < 0.5
        if isinstance(kind, (IntKind, IntsKind)):
            return random.randint(1, 3)
        if isinstance(kind, FloatKind):
            return a.default if a is not None and not a.required else round(random.uniform(0.01, 1.0), 3)
        if kind.words:
            return random.choice(kind.words)
        if a is not None and not a.required:
            return a.default
        raise OpError(f"no value can be drawn for `{name}`; say candidates under `check`")


class _Default:
    pass


_DEFAULT: Final = _Default()
