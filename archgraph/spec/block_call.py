"""A block with arguments and input types becomes a typed graph, once, and a call of it a node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from archgraph.ir.diagnostics import Span, did_you_mean
from archgraph.ir.dim import Cond, Dim
from archgraph.ir.graph import Graph, Node
from archgraph.ir.real import Real, free, ratio
from archgraph.ir.real import late as late_value
from archgraph.ops.base import OpError
from archgraph.spec.block_inputs import Refused, bind_inputs
from archgraph.spec.block_order import order_of
from archgraph.spec.explain import Call, Notes, instances, origins, show_value
from archgraph.spec.frame import FAULTS, MAX_DEPTH, Frame, Made, Session
from archgraph.spec.memo import Result, file_scope, recalled, remember, watched
from archgraph.spec.model import Block, Local
from archgraph.spec.params import NUMBERS, check_param, param_default, recorded
from archgraph.spec.tape import Tapes, input_key
from archgraph.spec.tape_recorder import Recorder
from archgraph.spec.values import UNKNOWN, Record, Ref, Turns, Values, Weights, flatten, freeze, rebuild, template, tidy

_LATE: Final = ("late",)
_ABSENT: Final = ("absent",)


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
    order = block.order or order_of(block)
    if not block.params.keys() >= args.keys():
        unknown = [k for k in args if k not in block.params]
        near = did_you_mean(unknown[0], block.params)
        raise OpError(
            f"`{block.name}` has no param `{unknown[0]}`",
            ", ".join(block.params) or "no params",
            unknown[0],
            f"did you mean `{near}`?" if near else None,
        )
    bound: dict[str, Any] = {}
    key: list[Any] = [block, session.assumed] if session.assumed else [block]
    late: list[tuple[str, Any]] = []
    scope: dict[str, Any] | None = None  # what defaults see, made when one is needed
    failed = False
    for param, p in block.params.items():
        value = args.get(param)
        if value is not None:
            if type(value) not in NUMBERS:
                # a share, ``keep / 100``, is as good as a number: sizes are made of it
                if isinstance(value, Real) and free(value) and not _is_share(value):
                    late.append((param, value))
                    bound[param] = late_value(param)
                    key.append(_LATE)
                    continue
            elif p.kind == "expr":
                bound[param] = value
                key.append(value if type(value) is int else (type(value), value))
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
    read: tuple[tuple[str, Any], ...] = ()
    if graph.late:
        bound = dict(late)
        read = tuple([(n, bound[n]) for n in graph.late])
    types = graph.output_types
    index = f.append(Node(own, None, inputs, types, (graph,), 1, share, read, (), flags, f.span))
    if block is not None and args is not None:
        f.made[own] = Made(block, args)
    if result.structure is None:
        return Ref((index, 0), types[0])
    value = rebuild(result.structure, iter(f.refs(index)))
    if type(value) is Record and len(value) == 1:
        return next(iter(value.values()))
    return value


def _is_share(value: Real) -> bool:
    return not value.late and ratio(value) is not None


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
    f.span = block.span
    args = tuple([(n, v if type(v := env.get(n)) in NUMBERS else recorded(v)) for n in block.params])
    return run_block(f, block, first, args)


def run_block(f: Frame, block: Block, first: Any, args: tuple[tuple[str, Any], ...] = ()) -> Result:
    """Run a block's body on inputs that are bound: by a tape, where one fits, or else the general way."""
    plan = block.plan
    assert plan is not None
    if not f.session.tapes or block.closed is not None or f.session.faults:
        return finish_block(f, block, plan.run(f, first), args)
    tapes = plan.tapes
    if tapes is None:
        tapes = plan.tapes = Tapes()
    key = input_key(f, block)
    tape = tapes.find(f, key)
    if tape is not None and tape.run(f):
        return Result(f.finish(tape.outputs, args, whole=tape.whole), tape.structure)
    if not tapes.worth_recording():
        return finish_block(f, block, plan.run(f, first), args)
    f.tape = recorder = Recorder(f, key)
    try:
        last = plan.run(f, first)
        result = finish_block(f, block, last, args)
    finally:
        f.tape = None
    if recorder.tape is not None:
        tapes.keep(recorder.tape)
    return result


def finish_block(f: Frame, block: Block, last: Any, args: tuple[tuple[str, Any], ...] = ()) -> Result:
    """Gather a block's outputs into a `Result`; ``args`` are those it was elaborated with."""
    plan = block.plan
    assert plan is not None
    if block.closed is not None:
        from archgraph.spec.closed import finish_closed

        return Result(finish_closed(f, block), None)
    if plan.outputs is None and type(last) is Ref:
        return _result(f, (("out", last.ref),), args, None)
    value = plan.output_value(f) if plan.outputs is not None else Record(out=last)
    if any(_bad(v) for v in value.values()):
        for name, v in value.items():
            if v is None or not (v is UNKNOWN or isinstance(v, (Ref, Values, Record, Turns))):
                f.fault("type/output", block.span, f"output `{name}` of `{block.name}` is no tensor")
        return Result(None, None)
    outputs: list[tuple[str, tuple[int, int]]] = []
    for name, v in value.items():
        outputs += [(name + suffix, r.ref) for suffix, r in flatten(v)]
    return _result(f, tuple(outputs), args, template(value))


def _result(
    f: Frame, outputs: tuple[tuple[str, tuple[int, int]], ...], args: tuple[tuple[str, Any], ...], structure: Any
) -> Result:
    graph = f.finish(outputs, args)
    if f.tape is not None:
        f.tape.made(f, outputs, structure, whole=len(graph.nodes) == len(f.nodes))
    return Result(graph, structure)


def _bad(v: Any) -> bool:
    if isinstance(v, Turns):
        return _bad(v.last)
    if isinstance(v, Values):
        return any(map(_bad, v))
    if isinstance(v, Record):
        return any(map(_bad, v.values()))
    return not isinstance(v, Ref)


def check_requirements(f: Frame, requires: Iterable[Local]) -> bool:
    """Check all entries of a ``requires``; returns whether what follows makes sense."""
    holds = True
    for r in requires:
        try:
            if r.fn(f.env) is True:
                continue
        except FAULTS:  # said below
            pass
        holds = check_requirement(f, r) and holds
    return holds


def check_requirement(f: Frame, r: Local) -> bool:
    """One ``requires`` entry: false is a fault, undecided a guard."""
    try:
        value = f.condition(r)
        if isinstance(value, Cond):
            f.require(value, r.why)
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
