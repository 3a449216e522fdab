"""Loading specs: a file, a variant of it, settings; and its typed graphs."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from typing import Any

from archgraph.ir.diagnostics import Collector, Diagnostic, Span, SpecError, did_you_mean
from archgraph.ir.graph import Graph
from archgraph.ir.types import TensorType
from archgraph.spec.compile import Compiler
from archgraph.spec.elaborate import elaborate_root
from archgraph.spec.frame import Session
from archgraph.spec.model import Block, SpecFile
from archgraph.spec.settings import checked_settings, sizes_to_params, variant_settings, written
from archgraph.spec.spec_files import parse_file, parse_text, resolve
from archgraph.spec.yaml import YMap, span_of


class Spec:
    """A loaded spec: its file, the chosen variant, and settings of its params.

    Made by `load`. Immutable in use: `with_settings` gives another one that shares the memo.
    """

    def __init__(
        self,
        file: SpecFile,
        variant: str | None = None,
        settings: Mapping[str, Any] | None = None,
        session: Session | None = None,
    ) -> None:
        self.file = file
        self.variant = variant
        self.settings: dict[str, Any] = dict(settings or {})
        self.session = session if session is not None else Session()

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def label(self) -> str:
        """Name and variant, for reports."""
        return f"{self.name}:{self.variant}" if self.variant else self.name

    @property
    def variants(self) -> list[str]:
        return list(self.file.variants)

    @property
    def graphs(self) -> list[str]:
        return list(self.file.graphs)

    def params(self) -> dict[str, Any]:
        """The value of every param: default, variant, setting."""
        found: dict[str, Any] = {}
        for p in self.file.params.values():
            if self.settings.get(p.name) is not None:
                found[p.name] = self.settings[p.name]
            else:
                found[p.name] = p.value if p.default is None else p.default(found)
        return found

    def with_settings(self, **settings: Any) -> Spec:
        """The same spec with further params set.

        Raises
        ------
        SpecError
            For names that are no params.
        """
        merged = {**self.settings, **checked_settings(self.file, settings)}
        return Spec(self.file, self.variant, merged, self.session)

    def block(self, name: str | None = None) -> Block:
        """A graph of the file by name; without one the only (or first) graph.

        Raises
        ------
        SpecError
            If there is none of that name.
        """
        file = self.file
        if name is None:
            graph = file.variants.get(self.variant or "", {}).get("graph") if self.variant else None
            if isinstance(graph, str):
                return self.block(graph)
            if file.graphs:
                return next(iter(file.graphs.values()))
            raise SpecError(Diagnostic("graph/none", Span(file.path, 1, 1), f"{file.path} has blocks, but no graph"))
        found = file.graphs.get(name) or file.blocks.get(name) or file.used.get(name)
        if found is None:
            near = did_you_mean(name, file.block_names())
            hint = f"did you mean `{near}`?" if near else None
            raise SpecError(
                Diagnostic(
                    "graph/unknown",
                    Span(file.path, 1, 1),
                    f"there is no graph or block `{name}`",
                    expected=", ".join(file.block_names()),
                    hint=hint,
                )
            )
        return found

    def graph(self, name: str | None = None, at: Mapping[str, Any] | None = None) -> Graph:
        """The typed block graph.

        Parameters
        ----------
        name : str, optional
            Which graph; the file's first by default.
        at : mapping, optional
            Input name → shape (ints or dims), type, or a list of these for a list input. Dims left open stay symbolic.
            A size that is one param by itself in the input's pattern sets that param.

        Raises
        ------
        SpecError
            With every fault found.
        """
        block = self.block(name)
        if not block.root:
            raise SpecError(
                Diagnostic("graph/block", block.span, f"`{block.name}` is a block; build it with `build_block`")
            )
        at = dict(at or {})
        settings = dict(self.settings)
        for key, shape in at.items():
            i = block.inputs.get(key)
            if i is None:
                near = did_you_mean(key, block.inputs)
                hint = f"did you mean `{near}`?" if near else None
                raise SpecError(
                    Diagnostic(
                        "at/unknown",
                        next((i.span for i in block.inputs.values()), block.span),
                        f"`{block.name}` has no input `{key}`",
                        expected=", ".join(block.inputs),
                        hint=hint,
                    )
                )
            if not i.is_list and not isinstance(shape, TensorType):
                settings.update(sizes_to_params(self.file, i, shape))
        session = self.session
        session.begin()
        collecting = gc.isenabled()
        gc.disable()  # a burst of small objects that live on: a collection in the midst doubles the time
        try:
            graph = elaborate_root(session, self.file, block, settings, at, self._written)
        finally:
            if collecting:
                gc.enable()
        session.faults.raise_if_any()
        assert graph is not None
        return graph

    def _written(self, param: str, value: Any) -> Span | None:
        """Where the variant gives a param its value; None where something else does."""
        values = self.file.variants.get(self.variant) if self.variant is not None else None
        if not isinstance(values, YMap) or param not in values:
            return None
        return span_of(values, param) if variant_settings(self.file, self.variant).get(param) == value else None

    def example(self, name: str | None = None, batch: int = 1) -> dict[str, Any]:
        """Input shapes for reports: the declared ``at``, with unnamed or open leading batch set to ``batch``."""
        block = self.block(name)
        params = self.params()
        found: dict[str, Any] = {}
        for i in block.inputs.values():
            if i.example is not None:
                found[i.name] = _known(i.example, params)
        return found

    def __repr__(self) -> str:
        return f"<Spec {self.label}>"


def _known(example: tuple[Any, ...], params: Mapping[str, Any]) -> tuple[Any, ...]:
    """The sizes of an ``at:``, its expressions evaluated."""
    return tuple([_known(v, params) if isinstance(v, tuple) else v(params) if callable(v) else v for v in example])


def load(name: str | os.PathLike[str], variant: str | None = None, **settings: Any) -> Spec:
    """Load a spec by path or shipped name.

    Parameters
    ----------
    name : str or path
        A YAML file, or the name of a shipped spec (``hornet``, ``eca-net``, ``eca-net/resnet``).
    variant : str, optional
        One of the file's variants; of a paper with several files, finds the file that has it.
    **settings
        Params to set on top.

    Raises
    ------
    SpecError
        With every fault found.
    """
    paths = resolve(os.fspath(name))
    files = [parse_file(p) for p in paths] if len(paths) > 1 else [parse_file(paths[0])]
    file = files[0]
    if len(files) > 1:
        if variant is not None:
            having = [f for f in files if variant in f.variants]
            if not having:
                known = [v for f in files for v in f.variants]
                near = did_you_mean(variant, known)
                raise SpecError(
                    Diagnostic(
                        "variant/unknown",
                        None,
                        f"no file of `{name}` has a variant `{variant}`",
                        expected=", ".join(known),
                        hint=f"did you mean `{near}`?" if near else None,
                    )
                )
            file = having[0]
        else:
            named = [f for f in files if os.path.splitext(os.path.basename(f.path))[0] == os.path.basename(str(name))]
            file = named[0] if named else files[0]
    values = variant_settings(file, variant)
    values.update(checked_settings(file, settings))
    return Spec(file, variant, values)


def loads(text: str, variant: str | None = None, file: str = "<text>", **settings: Any) -> Spec:
    """`load` from a text."""
    parsed = parse_text(text, file)
    values = variant_settings(parsed, variant)
    values.update(checked_settings(parsed, settings))
    return Spec(parsed, variant, values)


def block_graph(spec: Spec, name: str, inputs: Mapping[str, Any], args: Mapping[str, Any] | None = None) -> Graph:
    """A block of a spec elaborated alone.

    Parameters
    ----------
    spec : Spec
    name : str
        A block of the file or of a library it uses.
    inputs : mapping
        Input name → shape, `TensorType`, or a list of them.
    args : mapping, optional
        The block's params.

    Raises
    ------
    SpecError
        With every fault found.
    """
    from archgraph.ops.base import AttributeValueError
    from archgraph.spec.block_call import call_block
    from archgraph.spec.frame import FAULTS, Frame
    from archgraph.spec.values import UNKNOWN, Values

    block = spec.block(name)
    session = spec.session
    session.begin()
    session.memo.pop("scopes", None)
    session.memo["scopes"] = {spec.file: spec.params()}
    frame = Frame(session, block, {}, ())
    frame.span = block.span

    def tensor(i: Any, v: Any) -> TensorType:
        return v if isinstance(v, TensorType) else TensorType(i.dtype, tuple(v))

    values: dict[str, Any] = {}
    for i in block.inputs.values():
        if i.name not in inputs:
            continue
        v = inputs[i.name]
        if i.is_list:
            values[i.name] = Values(frame.add_input(f"{i.name}.{k}", tensor(i, x)) for k, x in enumerate(v))
        else:
            values[i.name] = frame.add_input(i.name, tensor(i, v))
    unknown = [k for k in inputs if k not in block.inputs]
    if unknown:
        raise SpecError(
            Diagnostic(
                "at/unknown", block.span, f"`{name}` has no input `{unknown[0]}`", expected=", ".join(block.inputs)
            )
        )
    given = dict(args or {})
    faults = Collector()
    for key, value in list(given.items()):
        if key in block.params and isinstance(value, (dict, YMap)) and "op" in value:
            holder = written({key: value}, key)
            refs: set[str] = set()
            _, given[key] = Compiler(Block("", spec.file, None, root=True), faults).opref(
                holder[key], holder, key, refs
            )
    faults.raise_if_any()
    try:
        got = call_block(frame, name, block, given, values)
    except (*FAULTS, AttributeValueError) as error:
        frame.caught(error, block.span)
        got = UNKNOWN
    session.faults.raise_if_any()
    assert got is not UNKNOWN
    return frame.nodes[-1].callee
