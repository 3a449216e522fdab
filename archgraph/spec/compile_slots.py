"""What stands in the slots of a node: constants, expressions, texts, ops as values, shape patterns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archgraph.ir.diagnostics import Collector, Span, did_you_mean
from archgraph.ops.base import AttributeValueError, OpError, all_ops, get_op
from archgraph.ops.kinds import Kind
from archgraph.spec.evaluators import (
    Closed,
    Computed,
    ComputedList,
    ComputedMap,
    ComputedOp,
    place,
)
from archgraph.spec.explain import choice_hint
from archgraph.spec.expr import Expr, ExprError, constant_value, parse
from archgraph.spec.expr import compile as compile_expr
from archgraph.spec.libraries import library_with
from archgraph.spec.loops import LoopPlan
from archgraph.spec.model import Block, OpRef, Param
from archgraph.spec.node_words import META
from archgraph.spec.patterns import ShapePattern
from archgraph.spec.yaml import YList, YMap, span_of

At = Callable[[], "Span | None"]


class Slots:
    """Reads what stands in the slots of one block: expressions, texts, attributes, ops as values, shapes."""

    def __init__(self, block: Block, faults: Collector) -> None:
        self.block = block
        self.file = block.file
        self.faults = faults
        #: Names whose turns or parts are read one by one.
        self.indexed: set[str] = set()
        #: The case for training of the switch that is being compiled.
        self.training: Any = None
        self.loops: list[tuple[str, LoopPlan]] = []
        self.declared: set[str] = set(block.params) | set(block.inputs) | {x.name for x in block.let}
        if block.root:
            self.declared |= set(self.file.params) | {x.name for x in self.file.let}
        for i in block.inputs.values():
            self.declared |= i.pattern.names

    def fault(self, code: str, span: Span | None, message: str, **more: Any) -> None:
        self.faults.error(code, span, message, **more)

    def unknown_key(self, container: YMap, key: Any, known: Any, what: str) -> None:
        near = did_you_mean(str(key), [str(k) for k in known])
        self.fault(
            "key/unknown",
            span_of(container, key, key=True),
            f"{what} has no key `{key}`",
            expected=", ".join(str(k) for k in known),
            hint=f"did you mean `{near}`?" if near else None,
        )

    def at(self, container: Any, key: Any = None) -> At:
        """A span made only when it is asked for."""
        return lambda: span_of(container, key) if isinstance(container, (YMap, YList)) else None

    def expr(self, raw: Any, container: Any, key: Any) -> Expr | None:
        """Parse an expression slot; None (and a fault) if it is none."""
        if isinstance(raw, bool) or raw is None:
            from archgraph.spec.expr import literal

            return literal(raw)
        if isinstance(raw, (int, float)):
            from archgraph.spec.expr import literal

            return literal(raw)
        if not isinstance(raw, str):
            self.fault("expr/form", span_of(container, key), "a number or expression is needed here")
            return None
        try:
            return parse(raw)
        except ExprError as error:
            at = place(container, key, error.offset, error.length)
            self.fault("expr/syntax", at, error.message, hint=error.hint)
            return None

    def evaluator(self, raw: Any, container: Any, key: Any, refs: set[str]) -> tuple[bool, Any]:
        """(constant?, value or compiled function) of an expression slot, lists and tables included."""
        if isinstance(raw, (int, float)) or raw is None:
            return True, raw
        if isinstance(raw, YList):
            parts = [self.evaluator(v, raw, k, refs) for k, v in enumerate(raw)]
            if all(c for c, _ in parts):
                return True, tuple(v for _, v in parts)
            return False, ComputedList(parts)
        if isinstance(raw, YMap):
            items = {k: self.evaluator(v, raw, k, refs) for k, v in raw.items()}
            if all(c for c, _ in items.values()):
                return True, {k: v for k, (_, v) in items.items()}
            return False, ComputedMap(items)
        tree = self.expr(raw, container, key)
        if tree is None:
            return True, 0
        known, value = constant_value(tree)
        if known:
            return True, value
        refs |= tree.names | tree.attrs
        return False, Computed(tree, container, key)

    def evaluator_names(self, raw: Any, names: set[str]) -> None:
        """Names that a value may refer to, whatever its slot."""
        if isinstance(raw, str):
            if raw.startswith("$"):
                names.add(raw[1:])
                return
            try:
                names |= parse(raw).names
            except ExprError:
                return
        elif isinstance(raw, (YList, YMap)):
            for v in raw.values() if isinstance(raw, YMap) else raw:
                self.evaluator_names(v, names)

    def text(self, raw: Any, container: Any, key: Any, refs: set[str]) -> tuple[bool, Any]:
        """(constant?, value or function) of a text slot; ``$name`` passes a param on."""
        if isinstance(raw, str) and raw.startswith("$") and raw[1:].isidentifier():
            name = raw[1:]
            refs.add(name)
            return False, compile_expr(parse(name))
        return True, raw

    def attribute(self, kind: Kind | None, raw: Any, container: Any, key: Any, refs: set[str]) -> tuple[bool, Any]:
        """(constant?, value or function) of an attribute, read as its kind says."""
        slot = "expr" if kind is None else kind.slot
        if kind is not None and isinstance(raw, str) and raw in kind.words:
            return True, raw
        if slot == "text":
            return self.text(raw, container, key, refs)
        if slot == "tree" and isinstance(raw, str):
            return (False, compile_expr(parse(raw[1:]))) if raw.startswith("$") else (True, raw)
        if slot == "formula":
            if isinstance(raw, str):
                tree = self.expr(raw, container, key)
                if tree is None:
                    return True, 0
                refs |= tree.names
                return False, Closed(tree)
            return self.evaluator(raw, container, key, refs)
        return self.evaluator(raw, container, key, refs)

    def opref(self, raw: Any, container: Any, key: Any, refs: set[str]) -> tuple[bool, Any]:
        """(constant?, value or function) of an op-valued param: ``{op: name, attrs…}``, ``$name`` or null."""
        if raw is None:
            return True, None
        if isinstance(raw, str):
            if raw.startswith("$"):
                refs.add(raw[1:])
                return False, compile_expr(parse(raw[1:]))
            raw_map = YMap(
                getattr(container, "file", ""), container.pos[key][1] if isinstance(container, YMap) else (0, 0, 0, 0)
            )
            raw_map["op"] = raw
            raw_map.pos["op"] = (raw_map.mark, raw_map.mark)
            raw = raw_map
        if not isinstance(raw, YMap) or "op" not in raw:
            self.fault("param/op", span_of(container, key), "an op or block is written `{op: name, …}`")
            return True, None
        word = raw["op"]
        if isinstance(word, str) and word.startswith("$"):
            refs.add(word[1:])
            target: Any = None
        else:
            target = self.target(word, raw, "op")
            if target is None:
                return True, None
        parts: dict[str, tuple[bool, Any]] = {}
        for k, v in raw.items():
            if k == "op":
                continue
            parts[str(k)] = self.attribute_of(target, str(k), v, raw, k, refs)
        if target is not None and all(c for c, _ in parts.values()):
            return True, OpRef(target, tuple(sorted((k, v) for k, (_, v) in parts.items())))
        return False, ComputedOp(target, word, parts)

    def attribute_of(
        self, target: Any, name: str, raw: Any, container: Any, key: Any, refs: set[str]
    ) -> tuple[bool, Any]:
        """An attribute or argument of a known target."""
        if isinstance(target, Block):
            p = target.params.get(name)
            if p is None:
                near = did_you_mean(name, target.params)
                self.fault(
                    "attr/unknown",
                    span_of(container, key, key=True),
                    f"`{target.name}` has no param `{name}`",
                    expected=", ".join(target.params) or "no params",
                    hint=f"did you mean `{near}`?" if near else None,
                )
                return True, None
            return self.argument(p, raw, container, key, refs)
        if target is None:
            if isinstance(raw, YMap) and "op" in raw:
                return self.opref(raw, container, key, refs)
            return self.evaluator(raw, container, key, refs)
        a = target.by_name.get(name)
        if a is None and target.extra is None:
            near = did_you_mean(name, [*target.by_name, *META])
            self.fault(
                "attr/unknown",
                span_of(container, key, key=True),
                f"`{target.op_name}` has no attribute `{name}`",
                expected=", ".join(target.by_name) or "no attributes",
                hint=f"did you mean `{near}`?" if near else None,
            )
            return True, None
        kind = a.kind if a is not None else target.extra
        if raw is None and a is not None and a.default is None and not a.required:
            return True, None
        faults = len(self.faults)
        const, value = self.attribute(kind, raw, container, key, refs)
        if const and kind is not None and len(self.faults) == faults:
            try:
                kind.convert(value)
            except AttributeValueError as error:
                self.fault(
                    "attr/value",
                    span_of(container, key),
                    f"`{target.op_name}` can't take this `{name}`",
                    expected=error.expected,
                    found=error.found,
                    hint=choice_hint(error),
                )
        return const, value

    def argument(self, p: Param, raw: Any, container: Any, key: Any, refs: set[str]) -> tuple[bool, Any]:
        """A block's argument, read as its param says."""
        if p.kind == "op" or (p.may_hold_op and isinstance(raw, YMap) and "op" in raw):
            return self.opref(raw, container, key, refs)
        if p.kind == "text":
            return self.text(raw, container, key, refs)
        if isinstance(raw, str) and raw.startswith("$"):
            return self.text(raw, container, key, refs)
        return self.evaluator(raw, container, key, refs)

    def target(self, word: Any, container: Any, key: Any) -> Any:
        """The block or op class that a word names; None (and a fault) if there is none."""
        if not isinstance(word, str):
            self.fault("op/name", span_of(container, key), "`op` takes the name of an op or block")
            return None
        found = self.file.find(word)
        if found is not None:
            if found.pending is not None:
                found.pending()
            return found
        cls = get_op(word)
        if cls is not None:
            return cls
        names = [*self.file.block_names(), *all_ops(), *[p for p, d in self.block.params.items() if d.kind == "op"]]
        near = did_you_mean(word, names)
        hint = f"did you mean `{near}`?" if near else None
        if word in self.block.params:
            hint = f"the param is passed on as `${word}`"
        library = library_with(word)
        if library is not None:
            hint = f"`{word}` is a block of {library}: add it to `uses`"
        self.fault("op/unknown", span_of(container, key), f"there is no op or block called `{word}`", hint=hint)
        return None

    def pattern(self, raw: Any, container: Any, key: Any) -> ShapePattern | None:
        """A shape pattern."""
        if not isinstance(raw, YList):
            self.fault("shape/form", span_of(container, key), "a shape is a list of sizes", expected="[B, C, H, W]")
            return None
        try:
            return ShapePattern(list(raw))
        except ExprError as error:
            self.fault("shape/form", span_of(container, key), f"no shape pattern: {error.message}", hint=error.hint)
        except OpError as error:
            self.fault("shape/form", span_of(container, key), str(error))
        return None
