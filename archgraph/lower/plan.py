"""What a composite becomes, before any torch: its statements in order and the modules and tensors that it owns.

A plan is made once per distinct block and realised once per instance; printing source code starts from it as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from archgraph.ir.diagnostics import Span
from archgraph.ir.dim import Dim
from archgraph.ir.graph import Graph
from archgraph.ops.base import Weight

#: The opcodes of `torch.fx`, without ``output``.
Kind: TypeAlias = Literal["placeholder", "get_attr", "call_function", "call_method", "call_module"]


class LoweringError(Exception):
    """A graph can't become a module; ``path`` is the node's, ``at`` the place in the spec."""

    def __init__(self, message: str, path: tuple[str, ...] = (), at: Span | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.at = at

    def __str__(self) -> str:
        where = ".".join(self.path)
        place = f"{self.at}: " if self.at is not None else ""
        return f"{place}{where}: {self.message}" if where else f"{place}{self.message}"


class Step:
    """One statement; as an argument of later ones it stands for its value.

    ``target`` is a dotted name for functions, a path inside the composite for modules and attributes.
    """

    __slots__ = ("args", "kind", "kwargs", "name", "target")

    def __init__(self, kind: Kind, target: str, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> None:
        self.kind = kind
        self.target = target
        self.args = args
        self.kwargs = kwargs
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name} = {self.kind} {self.target}>"


class Leaf(NamedTuple):
    """A torch module ``cls(**kwargs)`` with the parameters and buffers that it owns."""

    cls: str
    kwargs: Mapping[str, Any]
    weights: tuple[Weight, ...] = ()
    frozen: bool = False


class Slot(NamedTuple):
    """A parameter or buffer of its own, outside any torch module."""

    weight: Weight
    frozen: bool = False


class Constant(NamedTuple):
    """A non-persistent buffer with the value ``maker(*args)``."""

    maker: str
    args: tuple[Any, ...]


class Cases(NamedTuple):
    """A torch module ``cls(**parts)`` made of composites."""

    cls: str
    parts: Mapping[str, Plan]
    kwargs: Mapping[str, Any] = MappingProxyType({})


class Plan:
    """A composite: its statements, its result and what it owns.

    Attributes
    ----------
    name : str
        The block's name.
    steps : tuple of Step
        Placeholders first.
    result : nested Steps
        What it returns: a value, a tuple, or for the root a mapping.
    entries : mapping
        What it owns by path, in node order; paths with dots lie inside plain containers or other entries.
    extras : tuple of Dim
        Sizes that its values do not tell; the caller passes them as further arguments.
    provenance : mapping
        For each node the place in the spec and the type: ``{node: (place, types)}``.
    """

    __slots__ = ("entries", "extras", "graph", "name", "provenance", "result", "sequential", "steps")

    def __init__(
        self,
        name: str,
        steps: tuple[Step, ...],
        result: Any,
        entries: Mapping[str, Entry],
        extras: tuple[Dim, ...],
        provenance: Mapping[str, tuple[str, str]],
        graph: Graph,
    ) -> None:
        self.name = name
        self.steps = steps
        self.result = result
        self.entries = entries
        self.extras = extras
        self.provenance = provenance
        self.graph = graph
        self.sequential = _is_sequential(steps, result, entries)

    def __repr__(self) -> str:
        return f"<Plan {self.name}: {len(self.steps)} steps>"


Entry: TypeAlias = Plan | Cases | Leaf | Slot | Constant

#: Numbers under which the entries of a chain stand.
_DIGITS: Final = tuple(map(str, range(256)))


def _is_sequential(steps: tuple[Step, ...], result: Any, entries: Mapping[str, Entry]) -> bool:
    """Whether entries ``0``, ``1``, … are modules called one after the other on a single value."""
    if "0" not in entries or len(steps) != len(entries) + 1 or steps[0].kind != "placeholder":
        return False
    before = steps[0]
    for turn, (step, (path, entry)) in enumerate(zip(steps[1:], entries.items(), strict=True)):
        name = _DIGITS[turn] if turn < len(_DIGITS) else str(turn)
        if path != name or step.target != name or step.kind != "call_module" or step.kwargs:
            return False
        if len(step.args) != 1 or step.args[0] is not before or not isinstance(entry, (Plan, Cases, Leaf)):
            return False
        before = step
    return result is before


def walk(plan: Plan, prefix: str = "") -> Iterator[tuple[str, Leaf | Slot | Constant]]:
    """Everything that is no composite, under its path from ``plan``, in path order."""
    for path, entry in plan.entries.items():
        if isinstance(entry, Plan):
            yield from walk(entry, f"{prefix}{path}.")
        elif isinstance(entry, Cases):
            for name, part in entry.parts.items():
                yield from walk(part, f"{prefix}{path}.{name}.")
        else:
            yield prefix + path, entry
