"""Elaboration: a block with arguments and input types becomes a typed graph, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from archgraph.ir.diagnostics import Span, did_you_mean
from archgraph.ir.dim import Cond, Dim, Num, SymbolicTruth, sym
from archgraph.ir.graph import Graph, Node
from archgraph.ir.real import Late, Real, free
from archgraph.ir.types import TensorType
from archgraph.ops.base import OpError
from archgraph.spec.explain import Call, Notes, instances, origins, show_value
from archgraph.spec.expr import Compare, EvalError, UnknownName
from archgraph.spec.frame import FAULTS, MAX_DEPTH, Frame, Made, Session, TooLarge
from archgraph.spec.model import Block, Input, Local, OpRef, Param, SpecFile
from archgraph.spec.values import UNKNOWN, Record, Ref, Turns, Values, Weights, flatten, freeze, rebuild, template, tidy

_LATE: Final = ("late",)
_ABSENT: Final = ("absent",)


class Result:
    """A memoised elaboration: the graph and how its outputs are grouped; ``graph`` is None where it failed.

    ``kept`` numbers the values passed in that the graph reads; None: all. ``reads`` are the params of files that blocks
    below take for defaults, with the values they had: with others the result is another.
    """

    __slots__ = ("graph", "kept", "reads", "structure")

    def __init__(self, graph: Graph | None, structure: Any, kept: tuple[int, ...] | None = None) -> None:
        self.graph = graph
        self.structure = structure
        self.kept = kept
        self.reads: tuple[tuple[SpecFile, str, Any], ...] = ()


class Order:
    """When a block's params and locals can be evaluated: before or after its inputs bind dims.

    ``late`` params wait for dims; ``file_names`` are what the late ones read of the file's own params, ``reads`` what
    any default may.
    """

    __slots__ = ("early_let", "file_names", "late", "late_let", "reads")

    def __init__(self, block: Block) -> None:
        own = set(block.params) | {x.name for x in block.let}
        dims: set[str] = set()
        for i in block.inputs.values():
            dims |= i.pattern.names - {n for n, _ in i.each}
            if i.is_list:  # `len` of it
                dims.add(i.name)
        dims -= own
        waiting = set(dims)
        self.late: dict[str, Param] = {}
        for p in block.params.values():
            if p.names - {p.name} & waiting or (p.name in p.names and p.name in dims):
                waiting.add(p.name)
                self.late[p.name] = p
        self.early_let = []
        self.late_let = []
        for x in block.let:
            names = x.expr.names if x.expr is not None else frozenset()
            if names & waiting:
                waiting.add(x.name)
                self.late_let.append(x)
            else:
                self.early_let.append(x)
        outside: set[str] = set()
        for p in self.late.values():
            outside |= p.names - own - dims
            if p.name in p.names:
                outside.add(p.name)
        self.file_names = tuple(sorted(outside))
        known = {*block.file.params, *(x.name for x in block.file.let)}
        self.reads = tuple(sorted({n for p in block.params.values() for n in p.names} & known))


def order_of(block: Block) -> Order:
    """`Order`, once per block."""
    if block.order is None:
        block.order = Order(block)
    return block.order


def check_param(p: Param, value: Any) -> Any:
    """A value given for a param, checked against its declaration.

    Raises
    ------
    OpError
        Naming the param and what it takes.
    """
    if p.kind == "expr" and type(value) in _NUMBERS:
        return value
    if p.kind == "text" and not p.choices and isinstance(value, str):
        return value
    if p.kind in ("text", "choice"):
        if value not in p.choices:
            near = did_you_mean(value, [c for c in p.choices if isinstance(c, str)]) if isinstance(value, str) else None
            raise OpError(
                f"`{p.name}` can't be `{show_value(value)}`",
                "one of " + ", ".join(map(show_value, p.choices)) if p.choices else "a text",
                show_value(value),
                f"did you mean `{near}`?" if near else None,
                code="param/value",
            )
        return value
    if p.kind == "op":
        if not isinstance(value, OpRef):
            raise OpError(
                f"`{p.name}` can't be `{show_value(value)}`",
                "a block or op: {op: name, …}",
                show_value(value),
                code="param/value",
            )
        return value
    if p.kind in ("int", "float", "bool", "list") and not _fits(p.kind, value):
        raise OpError(
            f"`{p.name}` can't be `{show_value(value)}`", _ARTICLES[p.kind], show_value(value), code="param/value"
        )
    if p.kind == "int" and isinstance(value, float):
        return int(value)
    if p.kind == "expr" and (isinstance(value, str) or (isinstance(value, OpRef) and not p.may_hold_op)):
        raise OpError(
            f"`{p.name}` can't be `{show_value(value)}`", "a number or list", show_value(value), code="param/value"
        )
    return value


_NUMBERS: Final = frozenset({bool, int, float})
_ARTICLES: Final = {"int": "a whole number", "float": "a number", "bool": "true or false", "list": "a list"}


def _fits(kind: str, value: Any) -> bool:
    if isinstance(value, (Late, Real)):
        return kind == "float"
    if kind == "int":
        return (type(value) is int) or isinstance(value, Dim) or (isinstance(value, float) and value.is_integer())
    if kind == "float":
        return type(value) in (int, float) or isinstance(value, Dim)
    if kind == "bool":
        return isinstance(value, bool)
    return isinstance(value, (tuple, list))


def param_default(p: Param, env: Mapping[str, Any]) -> Any:
    """The default of a param in a scope."""
    return p.value if p.default is None else tidy(p.default(env))


def call_block(
    f: Frame,
    name: str,
    block: Block,
    args: Mapping[str, Any],
    values: Mapping[str, Any],
    flags: frozenset[str] = frozenset(),
    share: tuple[str, ...] | None = None,
    place: Callable[[str], Span | None] | None = None,
) -> Any:
    """Add a call node of ``block`` to a frame; returns its value. ``place`` tells where an argument is written.

    Raises
    ------
    OpError
        For unknown or missing arguments and inputs.
    """
    session = f.session
    order = order_of(block)
    unknown = [k for k in args if k not in block.params]
    if unknown:
        near = did_you_mean(unknown[0], block.params)
        raise OpError(
            f"`{block.name}` has no param `{unknown[0]}`",
            ", ".join(block.params) or "no params",
            unknown[0],
            f"did you mean `{near}`?" if near else None,
        )
    bound: dict[str, Any] = {}
    key: list[Any] = [block]
    late: list[tuple[str, Any]] = []
    scope: dict[str, Any] | None = None  # what defaults see, made when one is needed
    failed = False
    for param, p in block.params.items():
        value = args.get(param)
        if value is not None:
            if type(value) not in _NUMBERS and isinstance(value, Real) and free(value):
                late.append((param, value))
                bound[param] = Late(param)
                key.append(_LATE)
                continue
            try:
                value = check_param(p, value)
            except OpError as error:
                f.caught(error, f.span if place is None else place(param), ((p.span, "declared here"),))
                failed = True
        elif p.required:
            raise OpError(f"`{block.name}` needs the param `{param}`")
        elif p.default is None:
            bound[param] = p.value
            key.append(_ABSENT)
            continue
        elif param in order.late:
            key.append(_ABSENT)
            continue
        else:
            if scope is None:
                scope = dict(file_scope(session, block.file))
            scope.update(bound)
            try:
                value = tidy(p.default(scope))
            except FAULTS as error:
                Frame(session, block, scope, (Call(f.span, block.name, f.path + name), *f.trace)).caught(error, p.span)
                return UNKNOWN
        bound[param] = value
        key.append(value if type(value) is int else freeze(value))
    if failed:
        return UNKNOWN
    if order.file_names:
        scope = file_scope(session, block.file)
        key += [freeze(scope[n]) for n in order.file_names if n in scope]
    given: dict[str, Any] = {}
    refs: list[Ref] = []
    for i in block.inputs.values():
        v = values.get(i.name)
        if type(v) is Ref and not i.is_list:
            given[i.name] = v
            refs.append(v)
            key.append(v.type.key)
            continue
        if isinstance(v, Turns):
            v = v.last
        if v is None:
            key.append(None)
            continue
        if isinstance(v, Weights) and i.is_list:
            v = Values(r for _, r in flatten(v))
        elif isinstance(v, Record):
            v = Values(v.values()) if i.is_list else next(iter(v.values()))
        given[i.name] = v
        if isinstance(v, Ref):
            if i.is_list:
                v = given[i.name] = Values([v])
            else:
                refs.append(v)
                key.append(v.type.key)
                continue
        if not isinstance(v, Values):
            raise OpError(f"input `{i.name}` of `{block.name}` is no tensor", hint="use `constant`")
        if not i.is_list:
            raise OpError(f"input `{i.name}` of `{block.name}` is one tensor, not a list")
        parts = [r for _, r in flatten(v)]
        refs += parts
        key.append(("list", template(v), tuple(r.type.key for r in parts)))
    if session.reads and order.reads:
        session.reads[-1].update((block.file, n) for n in order.reads)
    memo_key = tuple(key)
    result = recalled(session, memo_key)
    if result is None:
        trace = (Call(f.span, block.name, f.path + name), *f.trace)
        if session.depth > MAX_DEPTH:
            raise OpError(
                f"blocks call one another more than {MAX_DEPTH} deep; is `{block.name}` calling itself?",
                code="limit/depth",
            )
        session.depth += 1
        faults = len(session.faults)
        with watched(session) as reads:
            try:
                result = elaborate_block(f, block, bound, given, trace)
            finally:
                session.depth -= 1
        if result.graph is not None and len(session.faults) == faults:  # a fault seen before is not counted again
            remember(session, memo_key, result, reads)
    if result.graph is None:
        return UNKNOWN
    return add_call(f, name, result, refs, tuple(late), flags, share, block, args)


def add_call(
    f: Frame,
    name: str,
    result: Result,
    refs: list[Ref],
    late: tuple[tuple[str, Any], ...],
    flags: frozenset[str] = frozenset(),
    share: tuple[str, ...] | None = None,
    block: Block | None = None,
    args: Mapping[str, Any] | None = None,
) -> Any:
    """Add a call node of an elaborated graph; returns its value."""
    graph = result.graph
    assert graph is not None
    own = f.unique(name)
    inputs = tuple([r.ref for r in refs])
    bound = dict(late)
    read = tuple([(n, bound[n]) for n in graph.late])
    index = f.append(Node(own, None, inputs, graph.output_types, (graph,), 1, share, read, (), flags, f.span))
    if block is not None and args is not None:
        f.made[own] = Made(block, args)
    value = rebuild(result.structure, iter(f.refs(index)))
    if type(value) is Record and len(value) == 1:
        return next(iter(value.values()))
    return value


def file_scope(session: Session, file: SpecFile) -> dict[str, Any]:
    """Values of a file's params and locals: as set for the main file, the defaults for a library."""
    scopes: dict[SpecFile, dict[str, Any]] = session.memo.setdefault("scopes", {})
    found = scopes.get(file)
    if found is None:
        found = scopes[file] = {}
        for p in file.params.values():
            found[p.name] = p.value if p.default is None else p.default(found)
        for x in file.let:
            try:
                found[x.name] = x.fn(found)
            except UnknownName:
                continue  # depends on dims of the file's own graph
    return found


@contextmanager
def watched(session: Session) -> Iterator[set[tuple[SpecFile, str]]]:
    """Gather which params of files are taken for defaults meanwhile; whoever watches outside sees them too."""
    reads: set[tuple[SpecFile, str]] = set()
    session.reads.append(reads)
    try:
        yield reads
    finally:
        session.reads.pop()
        if session.reads:
            session.reads[-1] |= reads


def remember(session: Session, key: Any, result: Result, reads: set[tuple[SpecFile, str]]) -> None:
    """Keep a result for its key, and for the values of the params that it depends on beside."""
    if reads:
        result.reads = tuple([(file, n, freeze(file_scope(session, file).get(n))) for file, n in reads])
    session.memo[key] = result


def recalled(session: Session, key: Any) -> Result | None:
    """The result that is kept for a key, if it holds for the params of files as they are set now."""
    result: Result | None = session.memo.get(key)
    if result is None or not result.reads:
        return result
    for file, n, value in result.reads:
        if freeze(file_scope(session, file).get(n)) != value:
            return None
    if session.reads:
        session.reads[-1].update((file, n) for file, n, _ in result.reads)
    return result


class Refused(OpError):
    """A block can't take what a caller gives it: a fault of the call."""


def bind_inputs(f: Frame, block: Block, given: Mapping[str, Any]) -> Any:
    """Make graph inputs for the given values, bind dims; returns the first input's value."""
    first: Any = None
    for i in block.inputs.values():
        f.span = i.span
        v = given.get(i.name)
        if v is None:
            if i.when is not None:
                from archgraph.spec.expr import compile

                if not f.truth(compile(i.when)):
                    f.env[i.name] = None
                    continue
            elif i.optional:
                f.env[i.name] = None
                continue
            raise Refused(f"`{block.name}` needs the input `{i.name}`", i.pattern.text, code="input/missing")
        value = _input_value(f, i, v, i.name)
        for _, column in each_columns(f, i):
            if len(column) != len(value):
                n = len(column)
                raise Refused(f"input `{i.name}` of `{block.name}` is a list of {n}", str(n), str(len(value)))
        if i.length is not None:
            from archgraph.spec.expr import compile

            n = f.value(compile(i.length))
            if n != len(value):
                raise Refused(f"input `{i.name}` of `{block.name}` is a list of {n}", str(n), str(len(value)))
        f.env[i.name] = value
        if first is None:
            first = value
    return first


def _input_value(f: Frame, i: Input, v: Any, path: str) -> Any:
    if isinstance(v, Values):
        columns = each_columns(f, i)
        values = Values()
        for k, x in enumerate(v):
            bind_element(f, columns, k)
            values.append(_input_value(f, i, x, f"{path}.{k}"))
        bind_element(f, columns, None)
        return values
    t: TensorType = v.type
    what = f"input `{path}` of `{f.block.name}`"
    if i.dtype != t.dtype and not (i.dtype == "float" and t.dtype != "bool"):
        raise Refused(f"{what} has another dtype", i.dtype, str(t), code="shape/dtype")
    try:
        return f.add_input(path, i.pattern.match(t, f.env, f.require, what))
    except OpError as error:
        raise Refused(
            str(error), error.expected or i.pattern.text, error.found, error.hint, code="shape/input"
        ) from None


def each_columns(f: Frame, i: Input) -> list[tuple[str, Any]]:
    """Values per element of the names in a list input's ``each``."""
    return [(n, f.value(fn)) for n, fn in i.each]


def bind_element(f: Frame, columns: list[tuple[str, Any]], k: int | None) -> None:
    """Set the names of ``each`` for element ``k``; None takes them away."""
    for n, column in columns:
        if k is None:
            f.env.pop(n, None)
        elif k < len(column):
            f.env[n] = column[k]


def elaborate_block(
    caller: Frame, block: Block, bound: Mapping[str, Any], given: Mapping[str, Any], trace: tuple[Call, ...]
) -> Result:
    """Elaborate a block with its early params bound, on input values of the caller."""
    env: dict[str, Any] = dict(bound)
    session = caller.session
    if block.base is not None:
        return derived_block(caller, block, bound, given, trace)
    f = Frame(session, block, env, trace)
    f.taken.update(block.inputs)
    order = order_of(block)
    try:
        for x in order.early_let:
            f.span = x.span
            env[x.name] = f.value(x.fn)
        first = bind_inputs(f, block, given)
        if order.late:
            scope = {**file_scope(session, block.file), **env}
            for p in order.late.values():
                if p.name not in env:
                    f.span = p.span
                    env[p.name] = scope[p.name] = param_default(p, scope)
        for x in order.late_let:
            f.span = x.span
            env[x.name] = f.value(x.fn)
    except Refused as error:
        notes: Notes = ((f.span, f"declared here as {error.expected}"),) if error.expected is not None else ()
        notes += origins(caller, (r for v in given.values() for _, r in flatten(v)))
        f.caught(error, trace[0].span, notes, instances(trace[1:], caller.block, caller.env))
        return Result(None, None)
    except FAULTS as error:
        f.caught(error, f.span)
        return Result(None, None)
    if block.requires and not check_requirements(f, block.requires):
        return Result(None, None)
    assert block.plan is not None
    f.span = block.span
    args = tuple([(n, recorded(env.get(n))) for n in block.params])  # a node may take a param's name
    last = block.plan.run(f, first)
    return finish_block(f, block, last, args)


def check_requirements(f: Frame, requires: Iterable[Local]) -> bool:
    """Check all entries of a ``requires``; returns whether what follows makes sense."""
    return sum(not check_requirement(f, r) for r in requires) == 0


def check_requirement(f: Frame, r: Local) -> bool:
    """One ``requires`` entry: false is a fault, undecided a guard."""
    try:
        value = f.value(r.fn)
        if isinstance(value, Cond):
            f.require(value, r.why)
            return True
    except SymbolicTruth as error:
        if error.cond is None or not isinstance(r.expr, Compare):
            f.caught(error, r.span)
            return False
        f.require(error.cond, r.why)
        return True
    except FAULTS as error:
        f.caught(error, r.span)
        return False
    if value is True or r.warn:
        return True
    assert r.expr is not None
    names = {n: f.env.get(n) for n in sorted(r.expr.names) if isinstance(f.env.get(n), (int, float, Dim))}
    found = ", ".join(f"{n} = {show_value(v)}" for n, v in names.items())
    at, chain = r.span, None
    notes: Notes = ()
    if f.trace:
        at, chain = f.trace[0].span, instances(f.trace[1:])
        notes = ((r.span, f"required here, by `{f.block.name}`"),)
    f.fault("requires", at, r.why, str(r.expr), found or None, None, notes, chain)
    return False


def finish_block(f: Frame, block: Block, last: Any, args: tuple[tuple[str, Any], ...] = ()) -> Result:
    """Gather a block's outputs into a `Result`; ``args`` are those it was elaborated with."""
    plan = block.plan
    assert plan is not None
    if block.closed is not None:
        from archgraph.spec.closed import finish_closed

        return Result(finish_closed(f, block), None)
    if plan.outputs is None and type(last) is Ref:
        return Result(f.finish((("out", last.ref),), args), None)
    value = plan.output_value(f) if plan.outputs is not None else Record(out=last)
    if any(_bad(v) for v in value.values()):
        for name, v in value.items():
            if v is None or not (v is UNKNOWN or isinstance(v, (Ref, Values, Record, Turns))):
                f.fault("type/output", block.span, f"output `{name}` of `{block.name}` is no tensor")
        return Result(None, None)
    outputs: list[tuple[str, tuple[int, int]]] = []
    for name, v in value.items():
        outputs += [(name + suffix, r.ref) for suffix, r in flatten(v)]
    return Result(f.finish(tuple(outputs), args), template(value))


def recorded(value: Any) -> Any:
    """An argument as plain data: a block or op by name and attributes, a table as pairs."""
    kind = type(value)
    if kind in _NUMBERS:
        return value
    if kind is Late:
        return "late"
    if kind is OpRef:
        return (value.word, tuple([(k, recorded(v)) for k, v in value.attrs]))
    if kind is tuple or kind is list:
        return tuple([recorded(v) for v in value])
    if isinstance(value, Mapping):
        return tuple([(k, recorded(v)) for k, v in value.items()])
    return value


def _bad(v: Any) -> bool:
    if isinstance(v, Turns):
        return _bad(v.last)
    if isinstance(v, Values):
        return any(map(_bad, v))
    if isinstance(v, Record):
        return any(map(_bad, v.values()))
    return not isinstance(v, Ref)


def elaborate_root(
    session: Session,
    file: SpecFile,
    block: Block,
    settings: Mapping[str, Any],
    at: Mapping[str, Any],
    place: Callable[[str, Any], Span | None] | None = None,
) -> Graph | None:
    """Elaborate a graph of a file: ``settings`` give params, ``at`` input shapes (ints or dims).

    ``place`` tells where a param's value is written, if in the file.

    Faults are left in ``session.faults``; None is returned then.
    """
    session.memo.pop("scopes", None)
    env: dict[str, Any] = {}
    f = Frame(session, block, env, ())
    f.span = block.span
    try:
        for name, p in file.params.items():
            f.span = p.span
            given = settings.get(name)
            if given is not None:
                try:
                    env[name] = check_param(p, given)
                except OpError as error:
                    written = None if place is None else place(name, given)
                    f.caught(error, written or p.span, () if written is None else ((p.span, "declared here"),))
                    return None
            elif p.required:
                raise OpError(
                    f"the param `{name}` has no default", hint=f"give it with --set {name}=…", code="param/required"
                )
            else:
                env[name] = param_default(p, env)
        waiting: list[Local] = []
        for x in (*file.let, *block.let):
            names = x.expr.names if x.expr is not None else frozenset()
            if all(n in env for n in names) and names.isdisjoint(w.name for w in waiting):
                f.span = x.span
                env[x.name] = f.value(x.fn)
            else:
                waiting.append(x)
        scope, each = dict(env), file
        session.memo["scopes"] = scopes = {each: scope}
        while each.origin is not None:  # blocks of the specs that a file is derived from see the same params
            each = each.origin
            scopes[each] = scope
        if file.symbols and not at:
            env.update(symbols_of(file))
        first: Any = None
        for i in block.inputs.values():
            f.span = i.span
            if i.when is not None:
                from archgraph.spec.expr import compile

                if not f.truth(compile(i.when)):
                    env[i.name] = None
                    continue
            if i.optional and i.name not in at:
                env[i.name] = None
                continue
            value = _root_input(f, i, at.get(i.name))
            env[i.name] = value
            f.taken.add(i.name)
            first = value if first is None else first
        for spelling, size in symbols_of(file).items():
            env.setdefault(spelling, size)
        if block.closed is not None:
            from archgraph.spec.closed import open_frame

            open_frame(f, block)
        for x in waiting:
            f.span = x.span
            env[x.name] = f.value(x.fn)
    except FAULTS as error:
        f.caught(error, f.span)
        return None
    if not check_requirements(f, (*file.requires, *block.requires)):
        return None
    assert block.plan is not None
    f.span = block.span
    try:
        last = block.plan.run(f, first)
    except TooLarge as error:
        f.fault("limit/size", error.at, str(error), chain=())
        return None
    result = finish_block(f, block, last)
    if session.faults or result.graph is None:
        return None
    if file.rewrites:
        return rewritten(session, file.rewrites, result.graph, env)
    return result.graph


def rewritten(session: Session, entries: tuple[Any, ...], graph: Graph, env: Mapping[str, Any]) -> Graph | None:
    """A graph after the rules of a derived spec or block; faults are left in the session."""
    from archgraph.ir.diagnostics import SpecError
    from archgraph.spec.derive import apply_rewrites
    from archgraph.spec.values import is_value

    faults = session.faults
    try:
        return apply_rewrites(session, entries, graph, {n: v for n, v in env.items() if not is_value(v)})
    except SpecError as error:
        faults.extend(error.diagnostics)
        return None
    finally:
        session.faults = faults


def derived_block(
    caller: Frame, block: Block, bound: Mapping[str, Any], given: Mapping[str, Any], trace: tuple[Call, ...]
) -> Result:
    """Elaborate a block that is derived from another: the other one, and then its rules."""
    base, session = block.base, caller.session
    assert base is not None
    f = Frame(session, base, {}, trace)
    f.span = caller.span
    values: dict[str, Any] = {}
    for name, v in given.items():
        refs = [f.add_input(name + suffix, r.type) for suffix, r in flatten(v)]
        values[name] = rebuild(template(v), iter(refs))
    value = call_block(f, base.name, base, {n: v for n, v in bound.items() if n in base.params}, values)
    if value is UNKNOWN:
        return Result(None, None)
    graph = f.nodes[-1].callee
    if block.rewrites:
        done = rewritten(session, block.rewrites, graph, {**file_scope(session, block.file), **bound})
        if done is None:
            return Result(None, None)
        graph = done
    args = tuple([(n, recorded(bound.get(n))) for n in block.params])
    graph = graph.replace(name=block.name, args=args, source=f"{block.file.path}#{block.name}")
    return Result(graph, template(value))


def _root_input(f: Frame, i: Input, given: Any) -> Any:
    if i.is_list:
        from archgraph.spec.expr import compile

        columns = each_columns(f, i)
        n = f.value(compile(i.length)) if i.length is not None else (len(given) if given else None)
        if columns:
            n = len(columns[0][1])
        if not isinstance(n, int):
            raise OpError(
                f"input `{i.name}` is a list of unknown length",
                hint="say `len:`, or give shapes with --at",
                code="input/length",
            )
        if given is not None and len(given) != n:
            raise OpError(f"input `{i.name}` is a list of {n}", str(n), str(len(given)))
        shapes = given if given is not None else [None] * n
        values = Values()
        for k, s in enumerate(shapes):
            bind_element(f, columns, k)
            values.append(root_tensor(f, i, s, f"{i.name}.{k}", f"{i.name}{k}"))
        bind_element(f, columns, None)
        return values
    return root_tensor(f, i, given, i.called, i.name)


def symbols_of(file: SpecFile) -> dict[str, Num]:
    """The file's symbols as they stand: a number, where the file fixes one."""
    return {spelling: sym(size) if isinstance(size, str) else size for spelling, size in file.symbols.items()}


def root_tensor(f: Frame, i: Input, shape: Any, path: str, prefix: str) -> Ref:
    """A graph input of a given shape or type, or of that which its pattern says."""
    if shape is None:
        t = i.pattern.build(f.env, i.dtype, prefix)
    else:
        t = shape if isinstance(shape, TensorType) else TensorType(i.dtype, tuple(shape))
        t = i.pattern.match(t, f.env, f.require, f"input `{path}`")
    return f.add_input(path, t)


__all__ = ["EvalError", "Result", "call_block", "elaborate_block", "elaborate_root"]
