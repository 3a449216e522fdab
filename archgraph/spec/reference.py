"""Reference implementations: how the arguments, inputs, outputs and state_dict keys of a class become ours.

The section ``reference:`` of a spec, as `archgraph.spec.reference_parse` reads it; its words are documented in
``docs/language/reference-section.md``. Everything here is about names and shapes; nothing needs torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from archgraph.ir.diagnostics import Span, SpecError, did_you_mean
from archgraph.ir.graph import Graph
from archgraph.ops.base import AttributeValueError, OpError
from archgraph.spec.change import Change, reason
from archgraph.spec.expr import EvalError, Expr, ExprError, UnknownName, compile, constant_value, parse
from archgraph.spec.host_values import HostValue, freeze_data, same_data
from archgraph.spec.keys import KeyPlan, Rule, Shape, plan_keys
from archgraph.spec.load import Spec, block_graph
from archgraph.spec.model import Block, SpecFile
from archgraph.spec.reference_build import (
    Fed,
    Misfit,
    example_shapes,
    given_shapes,
    root_settings,
    same_setting,
    typed_input,
)
from archgraph.spec.settings import variant_settings

__all__ = ["ANY", "Allowed", "Fed", "Misfit", "Published", "Reading", "Reference"]

#: What every expression may read besides arguments and locals.
SURROUNDINGS: Final = ("inputs", "outputs", "shape", "call")


@dataclass(frozen=True, slots=True)
class Allowed:
    """Values that an ignored argument may have; None for any."""

    values: tuple[Any, ...] | None

    def admits(self, value: Any) -> bool:
        return self.values is None or any(same_data(value, each) for each in self.values)

    def __str__(self) -> str:
        return "anything" if self.values is None else " or ".join(map(repr, self.values))


ANY: Final = Allowed(None)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one of our inputs takes, or one of their outputs compares with.

    ``names``: a name (of a tensor, or of a list ``name.0``, ``name.1`` …), or several that make a list. ``mode``:
    ``train`` or ``eval`` where an output belongs to one of two passes.
    """

    names: tuple[str, ...]
    is_list: bool = False
    change: Change | None = None
    mode: str | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """A published variant: ours, the constructor's arguments, and input shapes where a block is built."""

    name: str
    variant: str | None
    args: Mapping[str, Any] | None
    at: Mapping[str, Shape] | None
    span: Span | None = None


#: The names that a list input reads where it takes all that no other does.
REST: Final = ("_",)


class Reference:
    """One entry of ``reference:``. Attributes carry the names of the section's keys; `rules` those of ``use`` first."""

    __slots__ = (
        "also",
        "block",
        "defaults",
        "dims",
        "file",
        "ignored",
        "inputs",
        "lets",
        "name",
        "outputs",
        "params",
        "published",
        "read",
        "rules",
        "span",
        "unread",
        "when",
    )

    def __init__(self, name: str, file: SpecFile, block: Block, span: Span | None) -> None:
        self.name = name
        self.file = file
        self.block = block
        self.span = span
        self.also: tuple[str, ...] = ()
        self.when: Expr | None = None
        self.defaults: dict[str, Any] = {}
        self.ignored: dict[str, Allowed] = {}
        self.lets: dict[str, HostValue] = {}
        self.params: dict[str, HostValue] = {}
        self.dims: dict[str, HostValue] = {}
        self.inputs: dict[str, Reading | None] = {}
        self.unread: frozenset[str] = frozenset()
        self.outputs: dict[str, Reading | None] = {}
        self.rules: tuple[Rule, ...] = ()
        self.published: dict[str, Published] = {}
        #: Names that some expression of the entry reads.
        self.read: frozenset[str] = frozenset()

    @property
    def spellings(self) -> tuple[str, ...]:
        """The key, then ``also``."""
        return (self.name, *self.also)

    @property
    def required(self) -> frozenset[str]:
        """Arguments without a default that params, locals or dims read."""
        values = (*self.params.values(), *self.lets.values(), *self.dims.values())
        names = frozenset[str]().union(*(value.names for value in values))
        return names - self.defaults.keys() - self.lets.keys() - set(SURROUNDINGS)

    # -- arguments ---------------------------------------------------------------------------------------------------

    def environment(
        self,
        args: Mapping[str, Any],
        inputs: Mapping[str, Shape] | None = None,
        shapes: Mapping[str, Shape] | None = None,
        note: str = "",
        outputs: Mapping[str, Shape] | None = None,
    ) -> dict[str, Any]:
        """What expressions read: arguments merged over the defaults, the surroundings, and the locals.

        Parameters
        ----------
        args : mapping
            The constructor's arguments.
        inputs : mapping, optional
            Name of their input → shape.
        shapes : mapping, optional
            Key of their state_dict → shape.
        note : str
            Prose about the run; arguments of ``forward(…)`` in it are ``call``.
        outputs : mapping, optional
            Name of their output → shape.

        Raises
        ------
        Misfit
            With all unknown, missing and pinned arguments, or a local without a value.
        """
        given = {str(name): freeze_data(value) for name, value in args.items()}
        reasons = [why for name, value in given.items() if (why := self._refused(name, value)) is not None]
        merged = _merged(self.defaults, given)
        if self.when is not None and not self._holds(merged, inputs or {}):
            raise Misfit(f"`when: {self.when}` does not hold")
        missing = sorted(self.required - merged.keys())
        reasons += [f"the argument `{name}` is not given and has no default" for name in missing]
        if reasons:
            raise Misfit(*reasons)
        env = {
            "inputs": freeze_data(inputs or {}),
            "outputs": freeze_data(outputs or {}),
            "shape": freeze_data(shapes or {}),
            "call": called(note),
            **merged,
        }
        for name, value in self.lets.items():
            env[name] = _evaluated(f"`let` {name}", value, env)
        return env

    def _refused(self, name: str, value: Any) -> str | None:
        allowed = self.ignored.get(name)
        if allowed is not None:
            return None if allowed.admits(value) else f"`{name}` is {value!r}; the spec covers {allowed}"
        if name in self.read:
            return None
        if name in self.defaults:
            default = self.defaults[name]
            if same_data(_merged_value(default, value), default):
                return None
            return f"`{name}` is {value!r}, which the spec does not read; its default is {default!r}"
        near = did_you_mean(name, {*self.read, *self.ignored, *self.defaults})
        return f"unknown argument `{name}`" + (f" (`{near}`?)" if near else "")

    def _holds(self, merged: Mapping[str, Any], inputs: Mapping[str, Shape]) -> bool:
        assert self.when is not None
        try:
            return bool(compile(self.when)(_Lenient({"inputs": freeze_data(inputs), **merged})))
        except EvalError as error:
            raise Misfit(f"`when: {self.when}`: {error}") from error

    def settings(self, env: Mapping[str, Any]) -> dict[str, Any]:
        """Our params.

        Raises
        ------
        Misfit
            If one has no value.
        """
        return {name: _evaluated(f"the param `{name}`", value, env) for name, value in self.params.items()}

    # -- inputs and outputs --------------------------------------------------------------------------------------------

    def feed(self, inputs: Mapping[str, Shape], env: Mapping[str, Any]) -> list[Fed]:
        """What each of our inputs gets, in their order.

        Raises
        ------
        Misfit
            If an input of theirs is not read, or a change does not fit.
        """
        readings: dict[str, Reading] = {}
        for i in self.block.inputs.values():
            reading = self.inputs.get(i.name, Reading((i.name,)))
            if reading is not None and reading.names != REST and _present(reading, inputs) is not None:
                readings[i.name] = reading
        used = {name for reading in readings.values() for name in _present(reading, inputs) or ()}
        rest = [name for name in inputs if name not in used and name not in self.unread]
        for name, reading in self.inputs.items():
            if reading is not None and reading.names == REST and rest:
                readings[name] = Reading(tuple(rest), True, reading.change)
                rest = []
        open_ = [i.name for i in self.block.inputs.values() if i.name not in readings and i.name not in self.inputs]
        if len(rest) == 1 and len(open_) == 1:
            readings[open_[0]] = Reading((rest.pop(),))
        if rest:
            raise Misfit(f"nothing reads the input {', '.join(rest)}; our inputs are {', '.join(self.block.inputs)}")
        dims = {name: _evaluated(f"the dim `{name}`", value, env) for name, value in self.dims.items()}
        found: list[Fed] = []
        for i in self.block.inputs.values():
            if i.name not in readings:
                continue
            reading = readings[i.name]
            names = _present(reading, inputs) or ()
            for k, name in enumerate(names):
                shape, graph = tuple(inputs[name]), None
                if reading.change is not None:
                    graph = _changed(f"the input `{name}`", reading.change, shape, env)
                    shape = tuple(n for n in graph.output_types[0].shape if isinstance(n, int))
                ours = f"{i.name}.{k}" if i.is_list else i.name
                found.append(Fed(ours, name, graph, typed_input(i, shape, dims)))
            if not i.is_list and len(names) > 1:
                raise Misfit(f"our input `{i.name}` is one tensor, not the list {', '.join(names)}")
        return found

    def compared(self, outputs: Iterable[str], ours: Iterable[str]) -> dict[str, Reading | None]:
        """For each output of theirs what of ours it compares with; None where it is not compared.

        Raises
        ------
        Misfit
            If nothing of ours is said, or called, so.
        """
        theirs, names = list(outputs), list(ours)
        found: dict[str, Reading | None] = {}
        rest = self.outputs.get("_")
        counted = 0
        for name in theirs:
            head, item = self._head(name)
            if name in self.outputs:
                found[name] = self.outputs[name]
            elif name in names:
                found[name] = Reading((name,))
            elif head is not None:
                reading = self.outputs[head]
                found[name] = reading and Reading((f"{reading.names[0]}.{item}",), False, reading.change, reading.mode)
            elif rest is not None:
                found[name] = Reading((f"{rest.names[0]}.{counted}",), False, rest.change, rest.mode)
                counted += 1
            elif len(theirs) == 1 and len(names) == 1:
                found[name] = Reading((names[0],))
            else:
                raise Misfit(f"nothing is said about the output `{name}`; ours are {', '.join(names)}")
        return found

    def _head(self, name: str) -> tuple[str | None, str]:
        """The longest entry of ``outputs`` that an output's name begins with, and the segments behind it."""
        cut = name.rfind(".")
        while cut > 0:
            if name[:cut] in self.outputs:
                return name[:cut], name[cut + 1 :]
            cut = name.rfind(".", 0, cut)
        return None, ""

    # -- graphs --------------------------------------------------------------------------------------------------------

    def graph(self, env: Mapping[str, Any], fed: Iterable[Fed]) -> Graph:
        """Our graph or block, typed, for arguments and inputs of theirs.

        Raises
        ------
        Misfit
            If a param has no value.
        SpecError
            If the spec does not hold for them.
        """
        return self._build(self.settings(env), given_shapes(fed))

    def _build(self, settings: Mapping[str, Any], at: Mapping[str, Any]) -> Graph:
        if self.block.root:
            return Spec(self.file, None, root_settings(self.file, settings)).graph(self.block.name, at=at)
        args = {name: value for name, value in settings.items() if value is not None}
        return block_graph(Spec(self.file), self.block.name, at, args)

    def plan(
        self,
        env: Mapping[str, Any],
        theirs: Mapping[str, Shape],
        ours: Mapping[str, Shape],
        aliases: Mapping[str, str] | None = None,
    ) -> KeyPlan:
        """How their state_dict becomes ours: `archgraph.spec.keys.plan_keys` with the rules of this entry."""
        return plan_keys(self.rules, theirs, ours, env, aliases)

    def published_graph(self, name: str, shapes: Mapping[str, Shape] | None = None) -> tuple[dict[str, Any], Graph]:
        """Surroundings and our graph for a published variant, whose state_dict has these shapes.

        Raises
        ------
        Misfit
            If its ``variant`` and ``args`` disagree, or the arguments or input shapes don't fit.
        SpecError
            If the spec does not hold for them.
        """
        published = self.published[name]
        at = published.at or {}
        env = self.plain_environment()
        settings: dict[str, Any] = {}
        if published.args is not None:
            env = self.environment(published.args, at, shapes)
            settings = self.settings(env)
        if published.variant is not None:
            variant = variant_settings(self.file, published.variant)
            own = Spec(self.file, published.variant, variant).params()
            reasons = [
                f"`{param}` is {value} by the arguments, {own.get(param)} in the variant `{published.variant}`"
                for param, value in root_settings(self.file, settings).items()
                if value is not None and not same_setting(value, own.get(param))
            ]
            if reasons:
                raise Misfit(*reasons)
            settings = {**variant, **settings}
        if published.at is None:
            return env, self._build(settings, example_shapes(self.file, self.block, settings))
        return env, self._build(settings, given_shapes(self.feed(at, env)))

    def plain_environment(self) -> dict[str, Any]:
        """Surroundings where no arguments are known: the defaults, and locals that have a value with them."""
        env: dict[str, Any] = {"inputs": {}, "outputs": {}, "shape": {}, "call": {}, **self.defaults}
        for name, value in self.lets.items():
            if value.names <= env.keys():
                env[name] = _evaluated(f"`let` {name}", value, env)
        return env

    def __repr__(self) -> str:
        return f"<Reference {self.name}>"


class _Lenient(dict[str, Any]):
    """Surroundings in which what is not given is null."""

    def __missing__(self, key: str) -> None:
        return None


def _evaluated(what: str, value: HostValue, env: Mapping[str, Any]) -> Any:
    try:
        return value(env)
    except UnknownName as error:
        near = did_you_mean(error.name, env)
        raise Misfit(f"{what}: no argument `{error.name}`" + (f" (`{near}`?)" if near else "")) from error
    except EvalError as error:
        raise Misfit(f"{what}: {error}") from error


def _changed(what: str, change: Change, shape: Shape, env: Mapping[str, Any]) -> Graph:
    try:
        return change.graph(shape, env)
    except SpecError as error:
        raise Misfit(f"{what}: {reason(error)}") from error


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``, mappings key by key."""
    found = dict(base)
    for name, value in over.items():
        found[name] = _merged_value(base.get(name), value)
    return found


def _merged_value(base: Any, value: Any) -> Any:
    return _merged(base, value) if isinstance(base, dict) and isinstance(value, dict) else value


def _present(reading: Reading, inputs: Mapping[str, Shape]) -> tuple[str, ...] | None:
    """Their names that a reading takes from these inputs; None if they are not there."""
    if reading.is_list:
        return reading.names if all(name in inputs for name in reading.names) else None
    (name,) = reading.names
    if name in inputs:
        return (name,)
    items: list[str] = []
    while (item := f"{name}.{len(items)}") in inputs:
        items.append(item)
    return tuple(items) or None


_FORWARD: Final = re.compile(r"\bforward\(((?:[^()]|\([^()]*\))*)\)")
_ARGUMENT: Final = re.compile(r"(\w+)\s*=\s*((?:[^,()]|\([^()]*\))+)")


def called(note: str) -> dict[str, Any]:
    """Keyword arguments of ``forward(…)`` in a text: ``forward(x, size=(12, 9))`` gives ``{"size": (12, 9)}``."""
    hit = _FORWARD.search(note)
    found: dict[str, Any] = {}
    for name, text in _ARGUMENT.findall(hit[1]) if hit else ():
        text = text.strip()
        if text.startswith("(") and "," in text:
            text = f"[{text[1:-1].rstrip().rstrip(',')}]"
        try:
            known, value = constant_value(parse(text))
        except ExprError:  # prose, not a value
            continue
        if known:
            found[name] = value
    return found


#: What building a graph of an entry may raise besides `Misfit`.
FAULTS: Final = (SpecError, OpError, AttributeValueError)
