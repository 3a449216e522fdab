"""Which sizes a report assumes: those that were asked for, then a spec's own examples, then a batch of one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

from archgraph.ir.diagnostics import Diagnostic, SpecError, did_you_mean
from archgraph.ir.dim import Dim, Num, sym
from archgraph.ir.types import TensorType
from archgraph.ops.base import OpError
from archgraph.spec.block_inputs import turns_of
from archgraph.spec.expr import compile
from archgraph.spec.frame import FAULTS
from archgraph.spec.load import Spec
from archgraph.spec.model import Block, Input
from archgraph.spec.settings import checked_settings, sizes_to_params

#: The shape of an input, or those of a list input.
Shape: TypeAlias = "tuple[Num, ...] | tuple[tuple[Num, ...], ...]"

#: Names that stand for a batch at the head of an input's pattern.
BATCH: Final = frozenset({"b", "batch", "batch_size"})

_SIZE: Final = re.compile(r"[1-9]\d*|[A-Za-z_]\w*")
_MAX_SIZE: Final = 2**40


def parse_at(texts: Iterable[str], inputs: Mapping[str, Input]) -> dict[str, Shape]:
    """Shapes from ``image=1x3x384x384``; a name in place of a size leaves it symbolic, commas part a list's shapes.

    Parameters
    ----------
    texts : iterable of str
        The name may be left out where there is one input.
    inputs : mapping
        The inputs of a block by name.

    Raises
    ------
    SpecError
        For unknown inputs and unreadable sizes.
    """
    known = list(inputs)
    found: dict[str, Shape] = {}
    for text in texts:
        name, equals, shapes = text.partition("=")
        if not equals and len(known) == 1:
            name, shapes = known[0], text
        if name not in known:
            near = did_you_mean(name, known)
            raise SpecError(
                Diagnostic(
                    "at/unknown",
                    None,
                    f"there is no input `{name}`",
                    expected=", ".join(known) or "no inputs",
                    hint=f"did you mean `{near}`?" if near else "write --at input=1x3x224x224",
                )
            )
        if name in found:
            raise SpecError(Diagnostic("at/twice", None, f"the sizes of `{name}` are given twice"))
        read = tuple(_shape(part, text) for part in shapes.split(","))
        if len(read) > 1 and not inputs[name].is_list:
            raise SpecError(Diagnostic("at/list", None, f"`{name}` is one tensor, and `{text}` are {len(read)} shapes"))
        found[name] = read if inputs[name].is_list else read[0]
    return found


def _shape(text: str, whole: str) -> tuple[Num, ...]:
    sizes: list[Num] = []
    for part in text.strip().split("x"):
        part = part.strip()
        if not _SIZE.fullmatch(part) or (part.isdecimal() and int(part) > _MAX_SIZE):
            raise SpecError(
                Diagnostic(
                    "at/size",
                    None,
                    f"`{whole}` is no shape",
                    expected="sizes with an x between them, as in image=1x3x224x224",
                    found=f"`{part}` for a size",
                )
            )
        sizes.append(int(part) if part.isdecimal() else sym(part))
    return tuple(sizes)


def with_params(spec: Spec, values: Mapping[str, Any]) -> Spec:
    """`Spec.with_settings`, for params of any name.

    Raises
    ------
    SpecError
        For names that are no params, and unreadable values.
    """
    merged = {**spec.settings, **checked_settings(spec.file, values)}
    return Spec(spec.file, spec.variant, merged, spec.session)


def with_sizes(spec: Spec, graph: str | None = None, at: Mapping[str, Any] | None = None) -> Spec:
    """The spec with those params set that stand by themselves where ``at`` gives a size, or a name for one."""
    block = spec.block(graph)
    settings = dict(spec.settings)
    for name, shape in (at or {}).items():
        i = block.inputs.get(name)
        if i is not None and not i.is_list:
            shape = shape.shape if isinstance(shape, TensorType) else shape
            found = sizes_to_params(spec.file, i, shape)
            if len(shape) == len(i.pattern.axes):
                for k, param in i.pattern.alone:
                    if param in spec.file.params and isinstance(shape[k], Dim):
                        found.setdefault(param, shape[k])
            settings.update(found)
    return Spec(spec.file, spec.variant, settings, spec.session)


def default_sizes(spec: Spec, graph: str | None = None, at: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Shapes for `Spec.graph`: sizes asked for, a spec's params, its examples (``at:``), and 1 for the batch.

    Dims that none of these tell are left symbolic. Whether shapes fit the patterns is left to elaboration.
    """
    block = spec.block(graph)
    given: dict[str, Any] = dict(at or {})
    env = _values(with_sizes(spec, graph, given), block)
    for name, shape in given.items():
        i = block.inputs.get(name)
        if i is not None:
            with suppress(*FAULTS):  # elaboration meets the same fault and reports it with its place
                _over(i, shape, env, lambda i, one: i.pattern.match(_type(i, one), env, _ignore, i.name))
    found = dict(given)
    missing = [i for i in block.inputs.values() if i.name not in given and not i.optional]
    for i in missing:
        if i.example is not None:
            with suppress(*FAULTS):
                found[i.name] = _over(i, i.example, env, lambda i, one: _filled(i, one, env))
    for i in missing:
        if i.example is None:
            with suppress(*FAULTS):
                built = _built(i, env)
                if built is not None:
                    found[i.name] = built
    return found


def _values(spec: Spec, block: Block) -> dict[str, Any]:
    """Params, and the locals that follow from them."""
    env: dict[str, Any] = {}
    with suppress(*FAULTS):  # elaboration meets the same fault and reports it with its place
        env.update(spec.params())
        for x in (*spec.file.let, *block.let):
            env[x.name] = x.fn(env)
    return env


def _over(i: Input, shapes: Any, env: dict[str, Any], what: Callable[[Input, Any], Any]) -> Any:
    """``what`` of the shape of an input, or the list of it for those of a list input, names of ``each`` set."""
    if not i.is_list:
        return what(i, shapes)
    columns = [(name, turns_of(name, value(env))) for name, value in i.each]
    found = []
    for k, shape in enumerate(shapes):
        env.update((name, values[k]) for name, values in columns if k < len(values))
        found.append(what(i, shape))
    for name, _ in columns:
        env.pop(name, None)
    return found


def _type(i: Input, shape: Any) -> TensorType:
    return shape if isinstance(shape, TensorType) else TensorType(i.dtype, tuple(shape))


def _ignore(cond: Any, why: str) -> None:
    """Conditions between sizes are elaboration's matter."""


def _built(i: Input, env: dict[str, Any]) -> Any:
    """What the pattern of an input tells, or None where that is left to elaboration."""
    head = i.pattern.axes[0] if i.pattern.axes else None
    if head is not None and head.kind == "name" and head.name.lower() in BATCH:
        env.setdefault(head.name, 1)
    if not i.is_list:
        return i.pattern.build(env, i.dtype, i.name)
    lengths = [len(turns_of(name, value(env))) for name, value in i.each]
    length = lengths[0] if lengths else compile(i.length)(env) if i.length is not None else None
    if not isinstance(length, int):
        return None
    return _over(i, range(length), env, lambda i, k: i.pattern.build(env, i.dtype, f"{i.name}{k}"))


def _filled(i: Input, example: Any, env: dict[str, Any]) -> tuple[Num, ...]:
    """An example, with the sizes that are known already in place of its own."""
    sizes = [size(env) if callable(size) else size for size in example]
    axes = i.pattern.axes
    if i.pattern.rest is None and len(axes) == len(sizes):
        for k, axis in enumerate(axes):
            if axis.kind == "name":
                known = env.get(axis.name)
                if known is None:
                    env[axis.name] = sizes[k]
                else:
                    sizes[k] = known
    for size in sizes:
        if not isinstance(size, (int, Dim)) or isinstance(size, bool):
            raise OpError(f"{size!r} is no size")
    return tuple(sizes)
