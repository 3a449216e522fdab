"""What a spec file declares, before anything is evaluated: params, blocks, graphs, variants, claims, references."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from archgraph.ir.diagnostics import Span
from archgraph.spec.expr import Expr

if TYPE_CHECKING:
    from archgraph.spec.block_order import Order
    from archgraph.spec.patterns import ShapePattern
    from archgraph.spec.plan import GraphPlan

Env = dict[str, Any]
Eval = Callable[[Mapping[str, Any]], Any]

#: Words that declare a param without a default: the caller must give it.
PARAM_TYPES = ("int", "float", "bool", "list", "text", "op")


class OpRef:
    """A block or op as a value: what a param such as ``attention: {op: mhsa, num_heads: 4}`` holds."""

    __slots__ = ("_hash", "attrs", "target")

    def __init__(self, target: Any, attrs: tuple[tuple[str, Any], ...] = ()) -> None:
        self.target = target
        self.attrs = attrs
        try:
            self._hash = hash((id(target), attrs))
        except TypeError:  # a mapping among the values
            self._hash = hash((id(target), str(attrs)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OpRef) and self.target is other.target and self.attrs == other.attrs

    def __hash__(self) -> int:
        return self._hash

    @property
    def word(self) -> str:
        """The name of the block or op."""
        name: str = getattr(self.target, "op_name", None) or self.target.name
        return name

    def __str__(self) -> str:
        if not self.attrs:
            return self.word
        return "{op: " + self.word + "".join(f", {k}: {v}" for k, v in self.attrs) + "}"

    __repr__ = __str__


class Param:
    """A declared hyperparameter.

    ``kind``: ``expr`` (an expression, the default), ``text`` or ``choice`` (``one_of``), ``op`` (a block or op),
    ``table`` (a mapping or nested list of literals), or one of `PARAM_TYPES` where ``required``.
    """

    __slots__ = ("choices", "default", "kind", "name", "names", "required", "span", "value")

    def __init__(
        self,
        name: str,
        kind: str,
        *,
        value: Any = None,
        default: Eval | None = None,
        names: frozenset[str] = frozenset(),
        choices: tuple[Any, ...] = (),
        required: bool = False,
        span: Span | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.value = value
        self.default = default
        self.names = names
        self.choices = choices
        self.required = required
        self.span = span

    @property
    def is_text(self) -> bool:
        return self.kind == "text"

    @property
    def may_hold_op(self) -> bool:
        """Whether it takes ``{op: …}``: its default is one, or null."""
        return self.kind == "op" or (self.kind == "expr" and self.default is None and self.value is None)


class Input:
    """A declared input of a block or graph.

    ``is_list``: a list of ``length`` tensors (any number if None); ``each`` gives names that differ per element a list
    of values (``{each: {c: widths}, list: [B, c, _, _]}``). ``example`` is the shape that reports assume
    where a dim is free.
    """

    __slots__ = (
        "called",
        "dtype",
        "each",
        "example",
        "is_list",
        "length",
        "name",
        "optional",
        "pattern",
        "span",
        "when",
    )

    def __init__(
        self,
        name: str,
        pattern: ShapePattern,
        *,
        called: str | None = None,
        dtype: str = "float",
        is_list: bool = False,
        length: Expr | None = None,
        each: tuple[tuple[str, Eval], ...] = (),
        optional: bool = False,
        when: Expr | None = None,
        example: tuple[Any, ...] | None = None,
        span: Span | None = None,
    ) -> None:
        self.name = name
        #: Its name in the typed graph, which in closed files may be no identifier.
        self.called = called or name
        self.pattern = pattern
        self.dtype = dtype
        self.is_list = is_list
        self.length = length
        self.each = each
        self.optional = optional
        self.when = when
        self.example = example
        self.span = span


class Local:
    """One ``let`` entry, or one ``requires`` condition (``why`` set)."""

    __slots__ = ("expr", "fn", "name", "span", "warn", "why")

    def __init__(
        self, name: str, expr: Expr | None, fn: Eval, span: Span | None, why: str = "", warn: bool = False
    ) -> None:
        self.name = name
        self.expr = expr
        self.fn = fn
        self.span = span
        self.why = why
        self.warn = warn


class Closed:
    """What a block of a closed file says of its typed graph: name, recorded arguments, late names.

    ``late`` maps the spelling in the file to the name.
    """

    __slots__ = ("args", "late", "name")

    def __init__(self, name: str, args: Eval, late: Mapping[str, str]) -> None:
        self.name = name
        self.args = args
        self.late = late


class Block:
    """A block or graph definition. ``root`` marks a graph of the file: it sees the file's params, and is there once."""

    __slots__ = (
        "base",
        "closed",
        "doc",
        "file",
        "inputs",
        "let",
        "name",
        "order",
        "params",
        "pending",
        "plan",
        "requires",
        "rewrites",
        "root",
        "source",
        "span",
        "uid",
    )

    def __init__(self, name: str, file: SpecFile, span: Span | None, root: bool = False) -> None:
        self.name = name
        self.file = file
        self.span = span
        self.root = root
        self.doc = ""
        self.closed: Closed | None = None
        self.params: dict[str, Param] = {}
        self.inputs: dict[str, Input] = {}
        self.let: tuple[Local, ...] = ()
        self.requires: tuple[Local, ...] = ()
        self.plan: GraphPlan | None = None
        #: Declares params and inputs, while that is still to be done: a param's default may name any block.
        self.pending: Callable[[], None] | None = None
        #: When params and locals are evaluated, worked out at the first call.
        self.order: Order | None = None
        self.uid = (file.path, name)
        #: Where it is defined, for the graphs made of it.
        self.source = f"{file.path}#{name}"
        #: The block that this one is derived from, and the rules that do it (see `archgraph.spec.derive`).
        self.base: Block | None = None
        self.rewrites: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return f"<Block {self.name}>"


class SpecFile:
    """One parsed file: its own declarations and those it imports by ``uses``."""

    __slots__ = (
        "base",
        "blocks",
        "claims",
        "closed",
        "graphs",
        "let",
        "libraries",
        "name",
        "origin",
        "paper",
        "params",
        "path",
        "plugins",
        "reference",
        "requires",
        "rewrite",
        "rewrites",
        "single",
        "summary",
        "symbols",
        "tree",
        "used",
        "variants",
    )

    def __init__(self, path: str, tree: Any) -> None:
        self.path = path
        self.tree = tree
        self.name = ""
        self.summary = ""
        self.paper: Mapping[str, Any] = {}
        self.params: dict[str, Param] = {}
        self.let: tuple[Local, ...] = ()
        self.requires: tuple[Local, ...] = ()
        self.variants: dict[str, Mapping[Any, Any]] = {}
        self.blocks: dict[str, Block] = {}
        self.graphs: dict[str, Block] = {}
        #: Whether it has one ``graph``, which bears the file's name and is nobody's op.
        self.single = False
        self.libraries: tuple[SpecFile, ...] = ()
        self.used: dict[str, Block] = {}
        self.claims: Any = None
        self.reference: Any = None
        self.base: str | None = None
        self.rewrite: Any = None
        #: The spec that ``base`` names.
        self.origin: SpecFile | None = None
        self.rewrites: tuple[Any, ...] = ()
        self.plugins: tuple[str, ...] = ()
        #: A typed graph as it is, written by `archgraph.spec.dump`; nothing in it is elaborated.
        self.closed = False
        #: Sizes that every body may name: spelling in the file → symbol, or the number that it is fixed to.
        self.symbols: dict[str, str | int] = {}

    def find(self, name: str) -> Block | None:
        """The block or graph that a name in this file stands for."""
        return self.blocks.get(name) or (None if self.single else self.graphs.get(name)) or self.used.get(name)

    def block_names(self) -> list[str]:
        return [*self.blocks, *self.graphs, *self.used]

    def __repr__(self) -> str:
        return f"<SpecFile {self.path}>"
