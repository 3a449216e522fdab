"""Reading a spec file: its sections become declarations, its bodies plans."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Final

from archgraph.ir.diagnostics import Collector, Diagnostic, Span, SpecError, did_you_mean
from archgraph.ops.plugins import missing
from archgraph.spec.compile import Compiler
from archgraph.spec.derive import Derivation, derive_block
from archgraph.spec.model import Block, SpecFile
from archgraph.spec.parse_declarations import Declarations
from archgraph.spec.unread import check_read, check_sources
from archgraph.spec.yaml import YMap, load_yaml, span_of

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


class Parser(Declarations):
    """Parses one file. `archgraph.rewrite` reads rules with a subclass: other sections, no graph."""

    sections: ClassVar[tuple[str, ...]] = SECTIONS
    what: ClassVar[str] = "a spec"
    needs_graph: ClassVar[bool] = True

    def __init__(self, path: str, text: str, faults: Collector) -> None:
        tree = load_yaml(text, path)
        super().__init__(path, SpecFile(path, tree), faults)
        if not isinstance(tree, YMap):
            sections = ", ".join(self.sections)
            faults.error("file/form", Span(path, 1, 1), f"{self.what} is a mapping of sections", expected=sections)
            return
        self.tree = tree

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
        elif self.needs_graph and not (file.graphs or file.blocks or file.base is not None or "claims" in tree):
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


def _hold_ops(params: Any) -> bool:
    """Whether a default names a block or another param, which the first pass did not know."""
    return isinstance(params, YMap) and any(
        "op" in v if isinstance(v, YMap) else isinstance(v, str) and v.startswith("$") for v in params.values()
    )


def _stem(path: str) -> str:
    base = path.replace("\\", "/").rsplit("/", 1)[-1]
    return base.rsplit(".", 1)[0].replace("-", "_")
