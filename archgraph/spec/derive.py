"""``base:`` and ``rewrite:``: a spec, or a block, derived from another by rules.

Sections are read here; rules are read and applied by `archgraph.rewrite`, which stands above this package and is found
by name when the first derived spec is read: reading others does not depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from archgraph.ir.diagnostics import Collector, did_you_mean
from archgraph.spec.model import Block, Param, SpecFile
from archgraph.spec.yaml import YMap, span_of

if TYPE_CHECKING:
    from archgraph.ir.graph import Graph
    from archgraph.spec.frame import Session
    from archgraph.spec.parse import Parser

__all__ = ["Derivation", "apply_rewrites", "derive_block", "read_rewrites"]

#: Who reads and applies rules, by `read(raw, container, key, file, block, faults)` and
#: `apply(entries, graph, env, session)`.
ENGINE: Final = "archgraph.rewrite.derive"


def read_rewrites(raw: Any, container: YMap, file: SpecFile, block: Block, faults: Collector) -> tuple[Any, ...]:
    """The entries of a ``rewrite:``."""
    engine: Any = import_module(ENGINE)
    found: tuple[Any, ...] = engine.read(raw, container, "rewrite", file, block, faults)
    return found


def apply_rewrites(session: Session, entries: tuple[Any, ...], graph: Graph, env: Mapping[str, Any]) -> Graph:
    """The graph with the entries applied in order; ``env`` is what their expressions may read.

    Raises
    ------
    SpecError
        With the fault of the first entry that can't be applied.
    """
    engine: Any = import_module(ENGINE)
    found: Graph = engine.apply(entries, graph, env, session)
    return found


class Derivation:
    """What a file takes over from its base."""

    def __init__(self, parser: Parser) -> None:
        self.parser = parser
        self.file = parser.file
        self.faults = parser.faults

    def params(self) -> None:
        """Params, locals and conditions of the base, and what rules leave to be set."""
        file, base = self.file, self.file.origin
        own = dict(file.params)
        if base is not None:
            merged = dict(base.params)
            for name, p in own.items():
                merged[name] = self._over(base.params.get(name), p)
            file.params = merged
            file.let = base.let
            file.requires = base.requires
            file.rewrites = base.rewrites
        if file.rewrite is not None:
            self._rewrites(own)
        if base is not None:
            if "variants" not in self.parser.tree:
                file.variants = dict(base.variants)
            else:
                self._variants(base)

    def _rewrites(self, own: Mapping[str, Param]) -> None:
        """Rules to apply, and their params that nobody has set."""
        file, tree = self.file, self.parser.tree
        scratch = Block("", file, None, root=True)
        found = read_rewrites(file.rewrite, tree, file, scratch, self.faults)
        file.rewrites = (*file.rewrites, *found)
        for entry in found:
            for name, p in entry.open_params():
                if name in own or (name in file.params and getattr(file.params[name], "span", None) is p.span):
                    continue
                if name in file.params:
                    self.faults.error(
                        "rewrite/param",
                        entry.span,
                        f"`{name}` is a param of the base, and of the rule `{entry.rule.name}`",
                        hint=f"say which value the rule takes: `set: {{{name}: …}}`",
                    )
                    continue
                file.params[name] = p

    def _over(self, base: Param | None, own: Param) -> Param:
        """A param declared anew: another default for one of the base's."""
        if base is None or base.kind not in ("text", "choice"):
            return own
        raw = self.parser.tree["params"][own.name]
        if isinstance(raw, YMap):
            return own
        if raw not in base.choices:
            near = did_you_mean(str(raw), [c for c in base.choices if isinstance(c, str)])
            self.faults.error(
                "param/choices",
                span_of(self.parser.tree["params"], own.name),
                f"`{own.name}` can't be `{raw}`",
                expected="one of " + ", ".join(map(str, base.choices)),
                hint=f"did you mean `{near}`?" if near else None,
            )
        return Param(own.name, base.kind, value=raw, choices=base.choices, span=own.span)

    def _variants(self, base: SpecFile) -> None:
        for name, values in self.file.variants.items():
            above = values.get("base")
            if above is not None and above not in base.variants:
                near = did_you_mean(str(above), base.variants)
                self.faults.error(
                    "variant/base",
                    span_of(values, "base"),  # type: ignore[arg-type]
                    f"`{base.name}` has no variant `{above}`",
                    expected=", ".join(base.variants),
                    hint=f"did you mean `{near}`?" if near else None,
                )
            for key in values:
                if key in ("base", "graph") or key in self.file.params:
                    continue
                near = did_you_mean(str(key), self.file.params)
                self.faults.error(
                    "variant/param",
                    span_of(values, key, key=True),  # type: ignore[arg-type]
                    f"variant `{name}` sets `{key}`, which is no param",
                    hint=f"did you mean `{near}`?" if near else None,
                )

    def graphs(self) -> None:
        """The base's graphs, under this file."""
        file, base = self.file, self.file.origin
        if base is None:
            return
        if "graph" in self.parser.tree or "inputs" in self.parser.tree:
            key = "graph" if "graph" in self.parser.tree else "inputs"
            self.faults.error(
                "base/graph", span_of(self.parser.tree, key, key=True), f"a derived spec has no `{key}` of its own"
            )
        file.single = base.single
        for name, block in base.graphs.items():
            own = file.name if name == base.name else name
            copy = Block(own, file, block.span, root=True)
            copy.doc, copy.params, copy.inputs = block.doc, block.params, block.inputs
            copy.let, copy.requires, copy.plan = block.let, block.requires, block.plan
            file.graphs[own] = copy


def derive_block(parser: Parser, block: Block, raw: YMap) -> None:
    """A block with ``base`` and ``rewrite``: its params, and the inputs of its base."""
    faults = parser.faults
    base = parser.file.find(raw["base"]) if isinstance(raw.get("base"), str) else None
    if base is None:
        near = did_you_mean(str(raw.get("base")), parser.file.block_names())
        faults.error(
            "base/unknown",
            span_of(raw, "base"),
            "a derived block names the block that it comes from: `base`",
            hint=f"did you mean `{near}`?" if near else None,
        )
        return
    if base.pending is not None:
        base.pending()
    for key in raw:
        if key not in ("summary", "base", "params", "rewrite"):
            faults.error("key/unknown", span_of(raw, key, key=True), f"a derived block has no `{key}` of its own")
    own = parser.params(raw["params"], raw, block) if "params" in raw else {}
    block.base = base
    block.params = {**base.params, **own}
    block.inputs = base.inputs
    if "rewrite" in raw:
        block.rewrites = read_rewrites(raw["rewrite"], raw, parser.file, block, faults)
