"""Plans become `torch.fx` modules: one plain `GraphModule` per composite, chains of one value `nn.Sequential`.

Graphs are written down, not traced. A parent is compiled before its children are attached, since compiling a
`GraphModule` compiles all those below it again.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from types import FunctionType
from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.fx import Graph as FxGraph
from torch.fx import GraphModule
from torch.fx import Node as FxNode
from torch.fx.graph import PythonCode

from archgraph.ir.graph import Graph
from archgraph.lower.constants import Constants, resolve
from archgraph.lower.guards import InputCheck
from archgraph.lower.init import initialise
from archgraph.lower.plan import Cases, Constant, Entry, Leaf, LoweringError, Plan, Slot, Step, walk
from archgraph.lower.planner import Planner
from archgraph.lower.provenance import attach_graph, attach_provenance
from archgraph.ops.base import Weight

Device = torch.device | str

#: Batch norms that must not follow `train`, and what they become where they are frozen.
_HELD: Final = {f"torch.nn.BatchNorm{n}d": f"archgraph.nn.FrozenBatchNorm{n}d" for n in (1, 2, 3)}


def emit(graph: Graph, *, device: Device = "meta") -> GraphModule:
    """The module of a graph, its parameters allocated but without values.

    A list input (``x.0``, ``x.1`` …) is one argument ``x``. The result is the output's value, or a dict by name if
    there are several outputs.

    Raises
    ------
    LoweringError
        If the graph can't become a module, as when the size of a weight is symbolic.
    """
    module = Realiser(device).module(Planner().plan(graph, root=True))
    attach_graph(module, graph)
    return module


def build(
    graph: Graph,
    *,
    seed: int | None = 0,
    device: Device = "cpu",
    dtype: torch.dtype | None = None,
    init: bool = True,
    checked: bool = False,
) -> GraphModule:
    """The module of a graph with its weights initialised as declared.

    Parameters
    ----------
    graph : Graph
    seed : int or None
        Of the generator that all weights are drawn from; the same seed gives the same weights on every device. None
        draws from torch's global generator.
    device : device, optional
    dtype : torch.dtype, optional
        Floating tensors are cast to it after drawing.
    init : bool
        False leaves what a checkpoint holds without values.
    checked : bool
        Compare the inputs' shapes with the spec, and test what depends on them, before each call (a forward pre-hook).

    Raises
    ------
    LoweringError
        If the graph can't become a module.
    """
    plan = Planner().plan(graph, root=True)
    module = Realiser("cpu").module(plan)
    attach_graph(module, graph)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    weights = ((path, w) for path, w in _weights(plan) if init or not w.persistent)
    initialise(_tensors(module), weights, generator)
    if checked:
        module.register_forward_pre_hook(InputCheck(graph), with_kwargs=True)
    return module.to(device=device, dtype=dtype)


def _weights(plan: Plan) -> Iterator[tuple[str, Weight]]:
    for path, entry in walk(plan):
        if isinstance(entry, Leaf):
            for weight in entry.weights:
                yield f"{path}.{weight.name}", weight
        elif isinstance(entry, Slot):
            yield path, entry.weight


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


class Realiser:
    """Makes modules of plans."""

    def __init__(self, device: Device) -> None:
        self._device = torch.device(device)
        self._constants = Constants(self._device)
        self._code: dict[Plan, tuple[PythonCode, FunctionType]] = {}

    def module(self, plan: Plan) -> GraphModule:
        """A new `GraphModule`."""
        graph = FxGraph()
        values: dict[Step, FxNode] = {}
        entries = plan.entries.items()
        owned = {path: self._entry(entry) for path, entry in entries if not isinstance(entry, Plan | Cases)}
        root: dict[str, Any] = {}
        for step in plan.steps:
            kind = step.kind
            target: Any = step.target
            if kind == "call_function":
                target = resolve(target)
            elif kind == "call_module" or kind == "get_attr":
                root[target] = owned[target] if target in owned else _stand_in(target, owned)
            args = tuple([values[a] if a.__class__ is Step else _converted(a, values) for a in step.args])
            node = values[step] = graph.create_node(kind, target, (), {}, step.name)
            if (
                args
            ):  # given afterwards, since `create_node` searches them for symbolic integers, which are none of ours
                node.args = args
            if step.kwargs:
                node.kwargs = {key: _converted(value, values) for key, value in step.kwargs.items()}
        graph.output(_converted(plan.result, values))
        gm = self._compiled(plan, root, graph)
        for path, entry in entries:
            if isinstance(entry, Plan | Cases):
                gm.add_submodule(path, self._composite(entry))
            elif path not in root or not _persistent(entry):
                _assign(gm, path, owned[path], _persistent(entry))
        _order(gm, plan)
        attach_provenance(gm, plan.provenance)
        return gm

    def _compiled(self, plan: Plan, root: dict[str, Any], graph: FxGraph) -> GraphModule:
        """A `GraphModule` of its own, whose source text is printed and compiled once for all instances of a plan."""
        known = self._code.get(plan)
        code = known[0] if known else graph.python_code("self")
        brief = code
        if known:
            # Python's compiler took a fifth of emission's time. What it gets here is empty: the function is there,
            # with a code object of its own, since torch.compile counts what it has compiled per code object.
            forward = known[1]
            own = FunctionType(forward.__code__.replace(), forward.__globals__, "forward", forward.__defaults__)
            own.__annotations__ = dict(forward.__annotations__)
            brief = replace(code, src="", globals={"forward": own})
        graph.python_code = lambda *args, **kwargs: brief  # type: ignore[method-assign]  # of this graph alone, while it is compiled
        gm = GraphModule(root, graph, class_name(plan.name))
        del graph.python_code  # later edits print anew
        if known:
            gm._code = code.src
        else:
            self._code[plan] = code, cast("FunctionType", type(gm).forward)
        return gm

    def _composite(self, plan: Plan | Cases) -> nn.Module:
        if isinstance(plan, Cases):
            parts = {name: self._composite(part) for name, part in plan.parts.items()}
            made: nn.Module = resolve(plan.cls)(**parts, **plan.kwargs)
            return made
        if not plan.sequential:
            return self.module(plan)
        return nn.Sequential(
            *[self._composite(e) if isinstance(e, Plan | Cases) else self._entry(e) for e in plan.entries.values()]
        )

    def _entry(self, entry: Leaf | Slot | Constant) -> Any:
        if isinstance(entry, Leaf):
            return self._leaf(entry)
        if isinstance(entry, Constant):
            return self._constants.get(entry.maker, entry.args)
        weight = entry.weight
        shape = cast("tuple[int, ...]", weight.shape)
        tensor = torch.empty(shape, dtype=torch_dtype(weight.dtype), device=self._device)
        return tensor if weight.buffer else nn.Parameter(tensor, requires_grad=not entry.frozen)

    def _leaf(self, leaf: Leaf) -> nn.Module:
        cls: type[nn.Module] = resolve(_HELD.get(leaf.cls, leaf.cls) if leaf.frozen else leaf.cls)
        if not leaf.weights:
            return cls(**leaf.kwargs)
        # Weights are drawn once, as declared: without this, torch's own draw comes first.
        module = cls.__new__(cls)
        module.__dict__["reset_parameters"] = _nothing
        if "device" in _parameters(leaf.cls):
            module.__init__(**leaf.kwargs, device=self._device)  # type: ignore[misc]
        else:
            module.__init__(**leaf.kwargs)  # type: ignore[misc]
            module.to_empty(device=self._device)
        del module.__dict__["reset_parameters"]
        if leaf.frozen:
            module.requires_grad_(False).train()
        return module


def _nothing() -> None:
    """Stands in for `reset_parameters`."""


def _order(module: nn.Module, plan: Plan) -> None:
    """Submodules in the order of the nodes: what is only read, not called, was registered late."""
    modules = module._modules
    names = [name for name in dict.fromkeys(path.partition(".")[0] for path in plan.entries) if name in modules]
    if list(modules) != names:
        for name in names:
            modules[name] = modules.pop(name)


@cache
def _parameters(cls: str) -> frozenset[str]:
    return frozenset(inspect.signature(resolve(cls)).parameters)


@cache
def class_name(name: str) -> str:
    """A class name for a block: ``window_attention`` is ``WindowAttention``."""
    words = [word for word in re.split(r"\W|_", name) if word]
    found = "".join(word[0].upper() + word[1:] for word in words)
    return found if found.isidentifier() else f"Graph{found}"


def torch_dtype(name: str) -> torch.dtype:
    """The torch dtype of a dtype of types; ``float`` is torch's default, ``complex`` the complex one of that."""
    if name == "float":
        return torch.get_default_dtype()
    if name == "complex":
        return torch.complex128 if torch.get_default_dtype() is torch.float64 else torch.complex64
    found: torch.dtype = getattr(torch, name)
    return found


def _persistent(entry: Entry) -> bool:
    return not isinstance(entry, Constant) and not (isinstance(entry, Slot) and not entry.weight.persistent)


def _stand_in(path: str, owned: Mapping[str, Any]) -> Any:
    """What stands at a path until the composite there is attached; tensors inside leaves are there already."""
    head, _, rest = path.partition(".")
    while rest:
        if head in owned:
            found = owned[head]
            for name in rest.split("."):
                found = getattr(found, name)
            return found
        more, _, rest = rest.partition(".")
        head = f"{head}.{more}"
    return nn.Module()


def _assign(module: nn.Module, path: str, value: Any, persistent: bool) -> None:
    """Register a module, parameter or buffer at a path, in containers where nothing is there yet."""
    *heads, last = path.split(".")
    for head in heads:
        if not hasattr(module, head):
            module.add_module(head, nn.Module())
        module = getattr(module, head)
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
        module.register_buffer(last, value, persistent=persistent)
    elif isinstance(value, nn.Parameter):
        module.register_parameter(last, value)
    else:
        module.add_module(last, value)


def _converted(value: Any, values: Mapping[Step, FxNode]) -> Any:
    """An argument with fx nodes in place of steps."""
    if isinstance(value, Step):
        found = values.get(value)
        if found is None:
            raise LoweringError(f"the value of `{value.name}` is used where it isn't computed")
        return found
    if isinstance(value, (tuple, list)):
        return type(value)(_converted(v, values) for v in value)
    if isinstance(value, dict):
        return {key: _converted(v, values) for key, v in value.items()}
    if isinstance(value, slice):
        return slice(_converted(value.start, values), _converted(value.stop, values), _converted(value.step, values))
    return value
