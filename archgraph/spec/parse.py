"""Reading a spec file: its sections become declarations, its bodies plans."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Final

from archgraph.ir.diagnostics import Collector, Diagnostic, Span, SpecError, did_you_mean
from archgraph.ops.plugins import missing
from archgraph.spec.compile import Compiler
from archgraph.spec.derive import Derivation, derive_block
from archgraph.spec.evaluators import Computed, Constant, NamesOnly
from archgraph.spec.expr import BoolOp, Expr
from archgraph.spec.loops import LoopPlan
from archgraph.spec.model import PARAM_TYPES, Block, Input, Local, Param, SpecFile
from archgraph.spec.names import bad_name
from archgraph.spec.plan import NodePlan
from archgraph.spec.plan_forms import FormulaPlan, GroupPlan, ListPlan, SwitchPlan, ValuePlan
from archgraph.spec.plan_op import OpPlan
from archgraph.spec.plan_share import SharePlan
from archgraph.spec.yaml import YList, YMap, load_yaml, span_of

VERSION: Final = 1
SECTIONS: Final = (
    "archgraph",
    "name",
    "summary",
    "paper",
    "uses",
    "plugins",
    "base",
    "rewrite",
    "symbols",
    "params",
    "let",
    "requires",
    "variants",
    "inputs",
    "graph",
    "outputs",
    "graphs",
    "blocks",
    "claims",
    "reference",
    "notes",
)
#: What a block of a closed file says besides.
CLOSED_KEYS: Final = ("name", "args", "late")
BLOCK_KEYS: Final = ("summary", "base", "params", "inputs", "let", "requires", "graph", "outputs", "rewrite")
INPUT_KEYS: Final = ("shape", "list", "len", "each", "dtype", "optional", "when", "at", "summary")


class Parser:
    """Parses one file. `archgraph.rewrite` reads rules with a subclass: other sections, no graph."""

    sections: ClassVar[tuple[str, ...]] = SECTIONS
    what: ClassVar[str] = "a spec"
    needs_graph: ClassVar[bool] = True

    def __init__(self, path: str, text: str, faults: Collector) -> None:
        self.faults = faults
        self.path = path
        tree = load_yaml(text, path)
        self.file = SpecFile(path, tree)
        if not isinstance(tree, YMap):
            sections = ", ".join(self.sections)
            faults.error("file/form", Span(path, 1, 1), f"{self.what} is a mapping of sections", expected=sections)
            return
        self.tree = tree

    # -- first pass: names, so that bodies can refer to any block ---------------------------------------------------

    def declare(self) -> SpecFile:
        """Read everything but bodies."""
        if not isinstance(self.file.tree, YMap):
            return self.file
        tree, file = self.tree, self.file
        for key in tree:
            if key not in self.sections and key != "closed":  # only what `archgraph.spec.dump` writes is closed
                near = did_you_mean(str(key), self.sections)
                self.faults.error(
                    "key/unknown",
                    span_of(tree, key, key=True),
                    f"{self.what} has no section `{key}`",
                    expected=", ".join(self.sections),
                    hint=f"did you mean `{near}`?" if near else None,
                )
        version = tree.get("archgraph")
        if version != VERSION:
            at = span_of(tree, "archgraph") if "archgraph" in tree else Span(self.path, 1, 1)
            found = None if version is None else str(version)
            self.faults.error(
                "file/version",
                at,
                f"{self.what} says its language version",
                expected=f"archgraph: {VERSION}",
                found=found,
            )
        file.name = self._text("name") or _stem(self.path)
        file.summary = self._text("summary") or ""
        file.base = self._text("base")
        file.rewrite = tree.get("rewrite")
        paper = tree.get("paper", {})
        if not isinstance(paper, YMap) and paper != {}:
            self.faults.error("paper/form", span_of(tree, "paper"), "`paper` is a mapping: title, arxiv, year, …")
        else:
            file.paper = paper
        file.plugins = tuple(self._names("plugins"))
        self._plugins(file.plugins)
        file.closed = tree.get("closed") is True
        file.symbols = self._symbols(tree.get("symbols", []))
        scratch = Block("", file, None, root=True)
        if "params" in tree:
            file.params = self.params(tree["params"], tree, scratch)
        for name, where in self._mapping("blocks"):
            self._name(name, where, "a block")
            file.blocks[str(name)] = Block(str(name), file, span_of(where, name, key=True))
        for name, where in self._mapping("graphs"):
            self._name(name, where, "a graph")
            if name in file.blocks:
                self.faults.error("name/taken", span_of(where, name, key=True), f"`{name}` is a block already")
            file.graphs[str(name)] = Block(str(name), file, span_of(where, name, key=True), root=True)
        if "graph" in tree:
            if file.graphs:
                self.faults.error(
                    "graph/two", span_of(tree, "graph", key=True), "a spec has `graph` or `graphs`, not both"
                )
            file.graphs[file.name] = Block(file.name, file, span_of(tree, "graph", key=True), root=True)
            file.single = True
        elif self.needs_graph and not file.graphs and not file.blocks and file.base is None:
            self.faults.error("graph/none", Span(self.path, 1, 1), "a spec has a `graph`, `graphs` or `blocks`")
        for name, where in self._mapping("variants"):
            values = where[name]
            if values is None:
                values = YMap(self.path)
            if not isinstance(values, YMap):
                self.faults.error("variant/form", span_of(where, name), "a variant is a mapping from params to values")
                continue
            file.variants[str(name)] = values
            for key in values:
                if key not in file.params and file.base is None and key not in ("base", "rewrite", "graph"):
                    near = did_you_mean(str(key), file.params)
                    self.faults.error(
                        "variant/param",
                        span_of(values, key, key=True),
                        f"variant `{name}` sets `{key}`, which is no param",
                        expected=", ".join(file.params),
                        hint=f"did you mean `{near}`?" if near else None,
                    )
        file.claims = tree.get("claims")
        file.reference = tree.get("reference")
        return file

    def _symbols(self, raw: Any) -> dict[str, str | int]:
        """Symbols by their spelling; a whole number fixes the size."""
        if raw == []:
            return {}
        from archgraph.spec.closed import spellings

        table = raw if isinstance(raw, YMap) else {}
        fixed = {str(k): v for k, v in table.items() if type(v) is int and v > 0}
        named = spellings({k: v for k, v in table.items() if k not in fixed} if isinstance(raw, YMap) else raw)
        if named is None:
            at = span_of(self.tree, "symbols")
            self.faults.error("symbols/form", at, "`symbols` is a list of names, or a mapping from names to sizes")
        return {**(named or {}), **fixed}

    def _text(self, key: str) -> str | None:
        value = self.tree.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            self.faults.error(f"{key}/form", span_of(self.tree, key), f"`{key}` is a text", found=str(value))
            return None
        return value

    def _plugins(self, names: tuple[str, ...]) -> None:
        """A spec never causes an import: what it needs is there, or it is refused before its ops are looked up."""
        absent = missing(names)
        if absent:
            raise SpecError(
                *self.faults.diagnostics,
                *(
                    Diagnostic(
                        "plugin/missing",
                        span_of(self.tree, "plugins"),
                        f"the spec needs the plugin `{name}`, and a spec imports nothing by itself",
                        hint=f"if you trust it, give it with `--plugin {name}`, or import it before you load the spec",
                    )
                    for name in absent
                ),
            )

    def _names(self, key: str) -> list[str]:
        value = self.tree.get(key, [])
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            self.faults.error(f"{key}/form", span_of(self.tree, key), f"`{key}` is a list of texts")
            return []
        return list(value)

    def _mapping(self, key: str) -> list[tuple[Any, YMap]]:
        value = self.tree.get(key)
        if value is None:
            return []
        if not isinstance(value, YMap):
            self.faults.error(f"{key}/form", span_of(self.tree, key), f"`{key}` is a mapping")
            return []
        return [(name, value) for name in value]

    def _name(self, name: Any, where: YMap, what: str) -> None:
        if not isinstance(name, str) or not name.replace("-", "_").isidentifier():
            self.faults.error("name/invalid", span_of(where, name, key=True), f"`{name}` can't name {what}")

    # -- second pass: bodies -----------------------------------------------------------------------------------------

    def compile(self) -> None:
        """Compile every body; blocks of libraries must be known by now."""
        if not isinstance(self.file.tree, YMap):
            return
        tree, file = self.tree, self.file
        for name, block in file.blocks.items():
            block.pending = partial(self._declare_block, block, tree["blocks"][name], tree["blocks"], name)
        scratch = Block("", file, None, root=True)
        if "params" in tree and _hold_ops(tree["params"]):
            file.params = self.params(tree["params"], tree, scratch)
        derived = Derivation(self) if file.base is not None or file.rewrite is not None else None
        if derived is not None:
            derived.params()
        if "let" in tree:
            file.let = (*file.let, *self.let(tree["let"], tree, scratch))
        if "requires" in tree:
            file.requires = (*file.requires, *self.requires(tree["requires"], tree, scratch))
        for block in file.blocks.values():
            if block.pending is not None:
                block.pending()
        raws: list[tuple[Block, Any, Any, Any]] = []
        for name, block in file.graphs.items():
            if block.base is not None:
                continue
            if "graph" in tree and name == file.name and not isinstance(tree.get("graphs"), YMap):
                raw = YMap(self.path, tree.mark)
                for key in ("inputs", "graph", "outputs"):
                    if key in tree:
                        raw[key], raw.pos[key] = tree[key], tree.pos[key]
                raws.append((block, raw, tree, "graph"))
            else:
                raws.append((block, tree["graphs"][name], tree["graphs"], name))
        for block, raw, where, key in raws:
            self._declare_block(block, raw, where, key)
        if derived is not None:
            derived.graphs()
        for name, block in file.blocks.items():
            self._compile_block(block, tree["blocks"][name])
        for block, raw, _, _ in raws:
            self._compile_block(block, raw)

    def _declare_block(self, block: Block, raw: Any, where: Any, key: Any) -> None:
        block.pending = None
        if not isinstance(raw, YMap):
            self.faults.error("block/form", span_of(where, key), "a block is a mapping", expected=", ".join(BLOCK_KEYS))
            return
        keys = (*BLOCK_KEYS, *CLOSED_KEYS) if self.file.closed else BLOCK_KEYS
        if self.file.closed:
            from archgraph.spec.closed import declare_closed

            declare_closed(block, raw, self.faults)
        for k in raw:
            if k not in keys:
                near = did_you_mean(str(k), BLOCK_KEYS)
                self.faults.error(
                    "key/unknown",
                    span_of(raw, k, key=True),
                    f"a block has no key `{k}`",
                    expected=", ".join(keys),
                    hint=f"did you mean `{near}`?" if near else None,
                )
        doc = raw.get("summary")
        block.doc = doc if isinstance(doc, str) else ""
        if "base" in raw or "rewrite" in raw:
            derive_block(self, block, raw)
            return
        if "params" in raw:
            block.params = self.params(raw["params"], raw, block)
        if "inputs" in raw:
            block.inputs = self.inputs(raw["inputs"], raw, block)
        if "let" in raw:
            block.let = self.let(raw["let"], raw, block)
        if "requires" in raw:
            block.requires = self.requires(raw["requires"], raw, block)

    def _compile_block(self, block: Block, raw: Any) -> None:
        if not isinstance(raw, YMap) or block.base is not None:
            return
        compiler = Compiler(block, self.faults)
        if "graph" not in raw:
            self.faults.error("block/graph", span_of(raw), f"`{block.name}` needs a `graph`")
        elif raw["graph"] == {} and "outputs" not in raw:
            self.faults.error("graph/empty", span_of(raw, "graph"), "a graph has nodes, or says its `outputs`")
        block.plan = compiler.body(raw.get("graph", YMap(self.path)), raw, "graph", raw.get("outputs"), raw)
        for name, loop in compiler.loops:
            loop.indexed = name in compiler.indexed
        if isinstance(raw.get("graph"), YMap) and not self.file.closed:
            check_read(block, raw["graph"], self.faults)
            check_sources(block, raw["graph"], self.faults)

    # -- parts ---------------------------------------------------------------------------------------------------------

    def params(self, raw: Any, container: YMap, block: Block) -> dict[str, Param]:
        """A ``params:`` mapping."""
        found: dict[str, Param] = {}
        if not isinstance(raw, YMap):
            self.faults.error(
                "params/form", span_of(container, "params"), "`params` is a mapping from names to defaults"
            )
            return found
        for name, value in raw.items():
            why = bad_name(name)
            if why:
                self.faults.error("name/invalid", span_of(raw, name, key=True), f"`{name}` can't name a param: {why}")
                continue
            found[str(name)] = self.param(str(name), value, raw, block)
        return found

    def param(self, name: str, raw: Any, container: YMap, block: Block) -> Param:
        """One declared param."""
        span = span_of(container, name)
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
        compiler = Compiler(block, self.faults)
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

    second = False

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


def _hold_ops(params: Any) -> bool:
    """Whether a default names a block or another param, which the first pass did not know."""
    return isinstance(params, YMap) and any(
        "op" in v if isinstance(v, YMap) else isinstance(v, str) and v.startswith("$") for v in params.values()
    )


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def _stem(path: str) -> str:
    base = path.replace("\\", "/").rsplit("/", 1)[-1]
    return base.rsplit(".", 1)[0].replace("-", "_")


def check_read(block: Block, raw: YMap, faults: Collector) -> None:
    """A value that nobody reads is a mistake, unless it is marked ``unused``."""
    plan = block.plan
    assert plan is not None
    _check_items(
        plan.items, plan.outputs is None, frozenset().union(*(o.ref.refs for o in plan.outputs or ())), raw, faults
    )


def check_sources(block: Block, raw: YMap, faults: Collector) -> None:
    """A node without ``in`` takes the value above, and must mean it where that is a parameter or the like."""
    assert block.plan is not None
    items = block.plan.items
    for (above, plan), (name, below) in pairwise(items):
        if plan.is_source and _reads_above(below) and name in raw:
            faults.error(
                "in/source",
                span_of(raw, name, key=True),
                f"`{name}` does not say what it takes, and `{above}` above takes nothing itself",
                hint=f"say `in: {above}`, or `in:` the value that you mean",
            )


def _reads_above(plan: NodePlan) -> bool:
    """`takes_above`, looked at closely: a choice takes the value above if one of its cases does."""
    if isinstance(plan, SwitchPlan):
        return plan.given is None and any(map(_reads_above, plan.cases.values()))
    if isinstance(plan, FormulaPlan):
        return plan.given is None and "it" in plan.refs
    if isinstance(plan, ValuePlan):
        return False
    if isinstance(plan, OpPlan) and isinstance(plan.target, Block):
        inputs = plan.target.inputs
        if not inputs or (plan.kwinputs is not None and next(iter(inputs)) in plan.kwinputs):
            return False
    return not isinstance(plan, (SharePlan, ListPlan)) and takes_above(plan)


def _check_items(
    items: list[tuple[str, NodePlan]], last_is_read: bool, read_outside: frozenset[str], raw: YMap, faults: Collector
) -> None:
    for k, (name, plan) in enumerate(items):
        if "unused" in plan.flags or name == "_":
            continue
        later = items[k + 1 :]
        if not later and last_is_read:
            continue
        if name in read_outside or any(name in p.refs for _, p in later):
            continue
        named = set(plan.names or ())
        if (named and any(named & p.refs for _, p in later)) or named & read_outside:
            continue
        if later and takes_above(later[0][1]):
            continue
        if isinstance(plan, GroupPlan) and _inner_read(plan, later, read_outside):
            continue
        inner = _inner_names(plan)
        if inner and (inner & read_outside or any(inner & p.refs for _, p in later)):
            continue
        key = name if name in raw else int(name) if name.isdecimal() else None
        if key in raw:
            faults.error(
                "value/unread",
                span_of(raw, key, key=True),
                f"nobody reads `{name}`",
                hint="take it out, name it in `outputs`, or mark it `unused: true`",
            )


def _inner_names(plan: Any) -> set[str]:
    """Names that a group, chain or residual puts into the block's namespace."""
    from archgraph.spec.plan_forms import ChainPlan, ResidualPlan

    found: set[str] = set(plan.names or ())
    if isinstance(plan, ChainPlan):
        for label, p in plan.items:
            if label is not None:
                found.add(label)
            found |= _inner_names(p)
    elif isinstance(plan, GroupPlan):
        for label, p in plan.body.items:
            found.add(label)
            found |= _inner_names(p)
    elif isinstance(plan, ResidualPlan):
        found |= _inner_names(plan.branch)
        if plan.shortcut is not None:
            found |= _inner_names(plan.shortcut)
    elif isinstance(plan, SwitchPlan):
        for p in plan.cases.values():
            found |= _inner_names(p)
    return found


def _inner_read(plan: GroupPlan, later: list[tuple[str, NodePlan]], outside: frozenset[str]) -> bool:
    names = {n for n, _ in plan.body.items}
    return bool(names & outside) or any(names & p.refs for _, p in later)


def takes_above(plan: NodePlan) -> bool:
    """Whether a node reads the value above it without naming it."""
    from archgraph.spec.plan_forms import ChainPlan

    if isinstance(plan, ChainPlan):
        return bool(plan.items) and takes_above(plan.items[0][1])
    if plan.wraps:
        return getattr(plan, "given", None) is None
    if "it" in plan.refs:
        return True
    if isinstance(plan, OpPlan):
        if plan.inputs is not None:
            inline = [getattr(p, "inline", None) for p in plan.inputs]
            return any(takes_above(p) for p in inline if p is not None)
        if plan.kwinputs is not None:
            return isinstance(plan.target, Block)
        return not plan.is_source
    if isinstance(plan, FormulaPlan):
        return plan.given is None and ("it" in plan.refs or plan.condition is not None)
    if isinstance(plan, LoopPlan):
        return plan.given is None and takes_above(plan.body)
    return not plan.explicit


Reader = Callable[[str], "str"]
__all__ = ["SECTIONS", "VERSION", "Expr", "Parser"]
