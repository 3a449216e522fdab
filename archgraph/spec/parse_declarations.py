"""What a file or block declares: params, locals, requirements, inputs."""

from __future__ import annotations

from typing import Any, Final

from archgraph.ir.diagnostics import Collector, did_you_mean
from archgraph.spec.compile import Compiler
from archgraph.spec.evaluators import Computed, Constant, NamesOnly
from archgraph.spec.expr import BoolOp
from archgraph.spec.model import PARAM_TYPES, Block, Input, Local, Param, SpecFile
from archgraph.spec.names import bad_name
from archgraph.spec.params import NUMBERS
from archgraph.spec.yaml import YList, YMap, span_of

INPUT_KEYS: Final = ("shape", "list", "len", "each", "dtype", "optional", "when", "at", "summary")


class Declarations:
    """Reads what a file or block declares: params, locals, requirements, inputs."""

    #: Whether this is the second pass, in which every block is known.
    second = False

    def __init__(self, path: str, file: SpecFile, faults: Collector) -> None:
        self.path = path
        self.file = file
        self.faults = faults

    def params(self, raw: Any, container: YMap, block: Block) -> dict[str, Param]:
        """A ``params:`` mapping."""
        found: dict[str, Param] = {}
        if not isinstance(raw, YMap):
            self.faults.error(
                "params/form", span_of(container, "params"), "`params` is a mapping from names to defaults"
            )
            return found
        compiler = Compiler(block, self.faults)
        for name, value in raw.items():
            why = bad_name(name)
            if why:
                self.faults.error("name/invalid", span_of(raw, name, key=True), f"`{name}` can't name a param: {why}")
                continue
            found[str(name)] = self.param(str(name), value, raw, compiler)
        return found

    def param(self, name: str, raw: Any, container: YMap, compiler: Compiler) -> Param:
        """One declared param."""
        span = span_of(container, name)
        if raw is None or type(raw) in NUMBERS:
            return Param(name, "expr", value=raw, span=span)
        if isinstance(raw, str) and raw in PARAM_TYPES and name not in container.quoted:
            return Param(name, raw, required=True, span=span)
        if isinstance(raw, YMap) and "one_of" in raw:
            choices = raw["one_of"]
            for k in raw:
                if k not in ("one_of", "default"):
                    self.faults.error("key/unknown", span_of(raw, k, key=True), f"a choice has no key `{k}`")
            if not isinstance(choices, YList) or not choices:
                self.faults.error("param/choices", span_of(raw, "one_of"), "`one_of` is a list of values")
                return Param(name, "expr", value=0, span=span)
            text = all(isinstance(c, str) for c in choices)
            first = raw.get("default", choices[0])
            if first not in choices:
                self.faults.error("param/choices", span_of(raw, "default"), f"`{first}` is none of the choices")
            kind = "text" if text else "choice"
            return Param(name, kind, value=_frozen(first), choices=tuple(_frozen(c) for c in choices), span=span)
        refs: set[str] = set()
        if isinstance(raw, str) and raw.startswith("$"):
            source = self.file.params.get(raw[1:])
            if source is None:
                near = did_you_mean(raw[1:], self.file.params)
                self.faults.error(
                    "name/unknown",
                    span,
                    f"the file has no param `{raw[1:]}`",
                    hint=f"did you mean `${near}`?" if near else None,
                )
                return Param(name, "expr", value=0, span=span)
            _, passed = compiler.text(raw, container, name, refs)
            return Param(name, source.kind, default=passed, names=frozenset(refs), choices=source.choices, span=span)
        if isinstance(raw, YMap) and "op" in raw:
            if not self.file.libraries and not self.file.blocks and not self.second:
                return Param(name, "op", span=span)
            const, value = (True, None) if not self.second else compiler.opref(raw, container, name, refs)
            return Param(
                name,
                "op",
                value=value if const else None,
                default=None if const else value,
                names=frozenset(refs),
                span=span,
            )
        const, value = compiler.evaluator(raw, container, name, refs)
        kind = "table" if isinstance(raw, YMap) else "expr"
        if const:
            return Param(name, kind, value=value, span=span)
        return Param(name, kind, default=value, names=frozenset(refs), span=span)

    def let(self, raw: Any, container: YMap, block: Block) -> tuple[Local, ...]:
        """A ``let:`` mapping."""
        found: list[Local] = []
        if not isinstance(raw, YMap):
            self.faults.error("let/form", span_of(container, "let"), "`let` is a mapping from names to expressions")
            return ()
        compiler = Compiler(block, self.faults)
        for name, value in raw.items():
            why = bad_name(name)
            if why:
                self.faults.error("name/invalid", span_of(raw, name, key=True), f"`{name}` can't name a local: {why}")
                continue
            if name in block.params or (block.root and name in self.file.params):
                self.faults.error("name/taken", span_of(raw, name, key=True), f"`{name}` is a param already")
            refs: set[str] = set()
            const, fn = compiler.evaluator(value, raw, name, refs)
            tree = NamesOnly(frozenset(refs))
            found.append(Local(name, tree, Constant(fn) if const else fn, span_of(raw, name)))  # type: ignore[arg-type]
        return tuple(found)

    def requires(self, raw: Any, container: YMap, block: Block) -> tuple[Local, ...]:
        """A ``requires:`` list."""
        found: list[Local] = []
        if not isinstance(raw, YList):
            self.faults.error("requires/form", span_of(container, "requires"), "`requires` is a list of `{that, why}`")
            return ()
        compiler = Compiler(block, self.faults)
        for k, item in enumerate(raw):
            if not isinstance(item, YMap) or "that" not in item or not isinstance(item.get("why"), str):
                self.faults.error("requires/form", span_of(raw, k), "an entry is `{that: condition, why: text}`")
                continue
            for key in item:
                if key not in ("that", "why", "warn"):
                    self.faults.error("key/unknown", span_of(item, key, key=True), f"`requires` has no key `{key}`")
            tree = compiler.expr(item["that"], item, "that")
            if tree is None:
                continue
            parts = tree.values if isinstance(tree, BoolOp) and tree.op == "and" else (tree,)
            at, warn = span_of(item, "that"), bool(item.get("warn", False))
            found += [Local("", part, Computed(part, item, "that"), at, item["why"], warn) for part in parts]
        return tuple(found)

    def inputs(self, raw: Any, container: YMap, block: Block) -> dict[str, Input]:
        """An ``inputs:`` mapping."""
        found: dict[str, Input] = {}
        if not isinstance(raw, YMap):
            self.faults.error("inputs/form", span_of(container, "inputs"), "`inputs` is a mapping from names to shapes")
            return found
        compiler = Compiler(block, self.faults)
        for name, value in raw.items():
            why = bad_name(name)
            if why:
                self.faults.error("name/invalid", span_of(raw, name, key=True), f"`{name}` can't name an input: {why}")
                continue
            if name in block.params:
                self.faults.error("name/taken", span_of(raw, name, key=True), f"`{name}` is a param already")
            dtype, optional, when, example, length, is_list = "float", False, None, None, None, False
            shape, where, key = value, raw, name
            called: str | None = None
            each: list[tuple[str, Any]] = []
            if isinstance(value, YMap):
                if self.file.closed and isinstance(value.get("name"), str):
                    called = value["name"]
                for k in value:
                    if k not in INPUT_KEYS and not (k == "name" and called is not None):
                        compiler.unknown_key(value, k, INPUT_KEYS, "an input")
                is_list = "list" in value
                key = "list" if is_list else "shape"
                if key not in value:
                    self.faults.error("input/form", span_of(raw, name), "an input says its `shape` (or `list`)")
                    continue
                shape, where = value[key], value
                dtype = value.get("dtype", "float")
                optional = value.get("optional", False) is True
                if "when" in value:
                    when = compiler.expr(value["when"], value, "when")
                if "len" in value:
                    length = compiler.expr(value["len"], value, "len")
                if isinstance(value.get("each"), YMap):
                    for k, v in value["each"].items():
                        const, fn = compiler.evaluator(v, value["each"], k, set())
                        each.append((str(k), Constant(fn) if const else fn))
                if "at" in value:
                    example = _example(compiler, value, "at")
                from archgraph.ir.types import DTYPE_BYTES

                if dtype not in DTYPE_BYTES:
                    near = did_you_mean(str(dtype), DTYPE_BYTES)
                    self.faults.error(
                        "input/dtype",
                        span_of(value, "dtype"),
                        f"there is no dtype `{dtype}`",
                        expected=", ".join(DTYPE_BYTES),
                        hint=f"did you mean `{near}`?" if near else None,
                    )
                    dtype = "float"
            pattern = compiler.pattern(shape, where, key)
            if pattern is None:
                continue
            found[str(name)] = Input(
                str(name),
                pattern,
                called=called,
                dtype=dtype,
                is_list=is_list,
                length=length,
                each=tuple(each),
                optional=optional,
                when=when,
                example=example,
                span=span_of(raw, name),
            )
        return found


def _example(compiler: Compiler, container: Any, key: Any) -> tuple[Any, ...] | None:
    """Sizes, or lists of them for the elements of a list input; a size is a number or an expression over params."""
    raw = container[key]
    if not isinstance(raw, list):
        return None
    sizes: list[Any] = []
    for k, v in enumerate(raw):
        if isinstance(v, list):
            sizes.append(_example(compiler, raw, k))
        else:
            sizes.append(compiler.evaluator(v, raw, k, set())[1])
    return tuple(sizes)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value
