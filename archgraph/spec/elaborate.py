"""Elaboration of a graph of a file: params and inputs are settled, its body is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from archgraph.ir.diagnostics import Span
from archgraph.ir.dim import Num, sym
from archgraph.ir.graph import Graph
from archgraph.ir.types import TensorType
from archgraph.ops.base import OpError
from archgraph.spec.block_call import check_requirements, rewritten, run_block
from archgraph.spec.block_inputs import bind_element, each_columns
from archgraph.spec.frame import FAULTS, Frame, Session, TooLarge
from archgraph.spec.model import Block, Input, Local, SpecFile
from archgraph.spec.params import NUMBERS, check_param, param_default
from archgraph.spec.values import Ref, Values


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
                if p.kind == "expr" and type(given) in NUMBERS:
                    env[name] = given
                    continue
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
                env[name] = p.value if p.default is None else param_default(p, env)
        waiting: list[Local] = []
        for x in (*file.let, *block.let):
            names = x.expr.names if x.expr is not None else frozenset()
            if names <= env.keys() and (not waiting or names.isdisjoint([w.name for w in waiting])):
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
        if file.symbols:
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
    if not (check_requirements(f, file.requires) & check_requirements(f, block.requires)):
        return None
    session.assumed = tuple(guard.cond for guard in f.guards)
    f.span = block.span
    try:
        result = run_block(f, block, first)
    except TooLarge as error:
        f.fault("limit/size", error.at, str(error), chain=())
        return None
    if session.faults or result.graph is None:
        return None
    if file.rewrites:
        return rewritten(session, file.rewrites, result.graph, env)
    return result.graph


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
