"""The workshop of elaboration: a `Session` keeps what is shared, a `Frame` builds one graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from archgraph.ir.diagnostics import Collector, Diagnostic, Span
from archgraph.ir.dim import Cond, Facts, SymbolicTruth, decider
from archgraph.ir.dim import TooLarge as DimTooLarge
from archgraph.ir.graph import Graph, Guard, Node, ValueRef, late_of
from archgraph.ir.real import Late, NeedsValue, Real
from archgraph.ir.reserved import RESERVED
from archgraph.ir.types import TensorType
from archgraph.ops.base import AttributeValueError, Op, OpError
from archgraph.spec.explain import Call, Notes, instances, name_hint, show_value
from archgraph.spec.expr import EvalError, UnknownName
from archgraph.spec.requirements import condition, parts
from archgraph.spec.values import UNKNOWN, Ref, Unknown, is_value

if TYPE_CHECKING:
    from archgraph.spec.model import Block, Local
    from archgraph.spec.tape_recorder import Recorder

MAX_TURNS: Final = 4096
MAX_NODES: Final = 1_000_000
MAX_MADE: Final = 100_000
MAX_DEPTH: Final = 64
MAX_MEMO: Final = 20_000

#: What may go wrong in user input while a node is evaluated; each becomes a diagnostic.
FAULTS: Final = (OpError, AttributeValueError, EvalError, UnknownName, SymbolicTruth, DimTooLarge)


class TooLarge(Exception):
    """The spec unrolls to more than elaboration takes; ends it. ``at`` is the node that was one too many."""

    def __init__(self, message: str, at: Span | None) -> None:
        super().__init__(message)
        self.at = at


class Session:
    """Elaborations that share a memo of typed blocks: (block, arguments, input types) → graph."""

    def __init__(self, tapes: bool = True) -> None:
        self.memo: dict[Any, Any] = {}
        #: Whether bodies that run often are recorded, to be run faster.
        self.tapes = tapes
        self.faults = Collector()
        self.reported: set[Any] = set()
        self.trials = 0
        self.depth = 0
        #: Params of files that defaults read, for each memoised thing that is being made, innermost last.
        self.reads: list[set[Any]] = []
        #: What the graph that is elaborated requires of sizes before anything runs; it holds for all below.
        self.assumed: tuple[Cond, ...] = ()
        #: Nodes made in this elaboration; those of a shared graph once.
        self.made = 0
        #: Graphs called in this elaboration, and in which body.
        self.graphs: dict[Block, tuple[Block, str]] = {}

    def begin(self) -> None:
        """Forget the faults of the last elaboration; bound the memo."""
        self.faults = Collector()
        self.reported.clear()
        self.made = 0
        self.graphs.clear()
        self.trials = 0
        self.depth = 0
        self.assumed = ()
        if len(self.memo) > MAX_MEMO:
            self.memo.clear()

    def forget_faults(self) -> None:
        """Forget the faults recorded so far, as if nobody had met them."""
        if self.faults:
            self.reported -= {(d.code, d.at, d.message) for d in self.faults.diagnostics}
            self.faults = Collector()

    def report(self, fault: Diagnostic) -> None:
        """Record a fault; once, where several instances of a block have it."""
        key = (fault.code, fault.at, fault.message)
        if key not in self.reported:
            self.reported.add(key)
            self.faults.add(fault)


def size(graph: Graph) -> int:
    """Nodes of a graph with those below, every turn and call counted."""
    known: int | None = graph._cache.get("size")
    if known is None:
        known = graph._cache["size"] = sum([1 if not n.callees else node_size(n) for n in graph.nodes])
    return known


def node_size(node: Node) -> int:
    """A node with those below, every turn and call counted; a symbolic number of turns as one."""
    if not node.callees:
        return 1
    return (1 + sum(map(size, node.callees))) * (node.count if isinstance(node.count, int) else 1)


class Made:
    """The block and the arguments of a call in this frame, for `share`."""

    __slots__ = ("args", "block")

    def __init__(self, block: Block, args: Mapping[str, Any]) -> None:
        self.block = block
        self.args = args


class _Knowing:
    """Answers conditions that facts decide; others go to who answered before."""

    def __init__(self, facts: Facts, before: Callable[[Cond], bool] | None) -> None:
        self.facts = facts
        self.before = before

    def __call__(self, cond: Cond) -> bool:
        known = self.facts.decide(cond)
        if isinstance(known, bool):
            return known
        if self.before is None:
            raise SymbolicTruth(cond)
        return self.before(cond)


class Frame:
    """One graph under construction: its names, nodes, guards and where it was called from."""

    __slots__ = (
        "_facts",
        "block",
        "env",
        "guards",
        "inputs",
        "made",
        "nodes",
        "outer",
        "path",
        "seen_guards",
        "session",
        "span",
        "taken",
        "tape",
        "total",
        "trace",
    )

    def __init__(self, session: Session, block: Block, env: dict[str, Any], trace: tuple[Call, ...]) -> None:
        self.session = session
        self.block = block
        self.env = env
        self.trace = trace
        self.inputs: list[tuple[str, TensorType]] = []
        self.nodes: list[Node] = []
        self.taken: set[str] = set()
        self.guards: list[Guard] = []
        self.seen_guards: set[Any] = set()
        self._facts: dict[bool, tuple[Guard | None, Any, Facts]] = {}
        self.made: dict[str, Made] = {}
        self.span: Span | None = None
        self.outer: Frame | None = None
        #: Where its nodes stand below those of the block's own frame: ``blocks.`` inside a loop of that name.
        self.path = ""
        self.total = 0
        #: Writes down what the body does, where that is wanted (see `archgraph.spec.tape`).
        self.tape: Recorder | None = None

    # -- values --------------------------------------------------------------------------------------------------

    def add_input(self, name: str, t: TensorType) -> Ref:
        """A new graph input."""
        self.inputs.append((name, t))
        return Ref((-1, len(self.inputs) - 1), t)

    def unique(self, name: str) -> str:
        """``name``, or with a number behind it if it is taken or reserved."""
        if name not in self.taken and name not in RESERVED:
            return name
        k = 2
        while f"{name}_{k}" in self.taken:
            k += 1
        return f"{name}_{k}"

    def add(
        self,
        name: str,
        op: Op | None,
        inputs: tuple[ValueRef | None, ...],
        types: tuple[TensorType, ...],
        **more: Any,
    ) -> int:
        """Append a node; returns its number.

        Raises
        ------
        TooLarge
            Past the limit of nodes, counted with multiplicity.
        """
        return self.append(Node(name, op, inputs, types, origin=self.span, **more))

    def append(self, node: Node) -> int:
        """`add` of a node made already."""
        self.taken.add(node.name)
        nodes = self.nodes
        nodes.append(node)
        self.total += node_size(node) if node.callees else 1
        session = self.session
        session.made += 1
        if self.total > MAX_NODES or session.made > MAX_MADE:
            most = f"{MAX_NODES:,} nodes" if self.total > MAX_NODES else f"{MAX_MADE:,} different nodes"
            raise TooLarge(f"the spec unrolls to more than {most}", self.span)
        return len(nodes) - 1

    def refs(self, index: int) -> tuple[Ref, ...]:
        """The outputs of a node."""
        return tuple([Ref((index, k), t) for k, t in enumerate(self.nodes[index].types)])

    def type_of(self, ref: ValueRef) -> TensorType:
        """The type of a value."""
        return self.inputs[ref[1]][1] if ref[0] < 0 else self.nodes[ref[0]].types[ref[1]]

    # -- rules' context ------------------------------------------------------------------------------------------

    def require(self, cond: bool | Cond, why: str) -> None:
        """`archgraph.ops.base.Context.require`."""
        if cond is True:
            return
        if cond is False:
            raise OpError(why)
        assert isinstance(cond, Cond)
        for part in parts(cond):
            if part in self.seen_guards or self._known(()).decide(part) is True:
                continue
            if self.facts.decide(part) is False:  # one that follows from others' is kept: a graph stands by itself
                raise OpError(why)
            self.seen_guards.add(part)
            self.guards.append(Guard(part, why, self.span))

    def hold(self, guard: Guard) -> None:
        """Take a condition for granted, and record it."""
        if guard.cond not in self.seen_guards:
            self.seen_guards.add(guard.cond)
            self.guards.append(guard)

    @property
    def facts(self) -> Facts:
        """What holds of sizes here: conditions recorded so far, and those of the whole."""
        return self._known(self.session.assumed)

    def _known(self, assumed: tuple[Cond, ...]) -> Facts:
        known = self._facts.get(bool(assumed))
        last = self.guards[-1] if self.guards else None  # a tape that is left takes guards back
        if known is None or known[0] is not last or known[1] != (len(self.guards), assumed):
            found = Facts((*assumed, *(guard.cond for guard in self.guards)))
            known = self._facts[bool(assumed)] = last, (len(self.guards), assumed), found
        return known[2]

    def settled(self, types: Any) -> Any:
        """Types that an op infers, their sizes in the shortest of words that this graph's conditions make equal."""
        if not self.guards:
            return types
        facts = self._known(())  # its own, so that it stands by itself
        if isinstance(types, TensorType):
            return types.mapped(facts.settle)
        return tuple([t.mapped(facts.settle) for t in types])

    # -- faults --------------------------------------------------------------------------------------------------

    def fault(
        self,
        code: str,
        span: Span | None,
        message: str,
        expected: str | None = None,
        found: str | None = None,
        hint: str | None = None,
        notes: Notes = (),
        chain: Notes | None = None,
    ) -> Unknown:
        """Record a diagnostic with the chain of block instances, or ``chain`` in its place; returns `UNKNOWN`."""
        if self.session.trials:
            raise NeedsValue("a fault while a loop is tried rolled")
        if chain is None:
            chain = instances(self.trace, self.block, self.env)
        self.session.report(Diagnostic(code, span, message, (*notes, *chain), expected, found, hint))
        return UNKNOWN

    def caught(self, error: Exception, span: Span | None, notes: Notes = (), chain: Notes | None = None) -> Unknown:
        """Record an exception of `FAULTS`, at its own place where it has one."""
        span = getattr(error, "at", None) or span
        expected = found = hint = None
        message = str(error)
        if isinstance(error, OpError):
            code = error.code
            expected, found, hint = error.expected, error.found, error.hint
        elif isinstance(error, AttributeValueError):
            code = "attr/value"
            message, expected, found = "this value does not fit", error.expected, error.found
        elif isinstance(error, UnknownName):
            code, hint = "name/unknown", name_hint(self, error.name)
        elif isinstance(error, SymbolicTruth):
            code = "expr/undecided"
            if error.cond is not None:
                message = f"`{error.cond}` can't be decided: sizes in it are not known"
            hint = "give the sizes with --at, or as `at:` beside the shape of the input"
        else:
            code = "expr/value"
        return self.fault(code, span, message, expected, found, hint, notes, chain)

    def unknown_name(self, name: str, span: Span | None) -> Unknown:
        """A name that nothing in scope bears."""
        return self.caught(UnknownName(name), span)

    # -- host values ---------------------------------------------------------------------------------------------

    def value(self, fn: Any) -> Any:
        """Evaluate a compiled host expression.

        Raises
        ------
        EvalError, UnknownName, SymbolicTruth, NeedsValue
            As the expression does; a tensor among its names is named.
        """
        try:
            value = fn(self.env)
            return self.facts.decide(value) if isinstance(value, Cond) else value
        except SymbolicTruth as error:
            if error.cond is None or not self.facts:
                raise
        except EvalError:
            names = getattr(fn, "names", ())
            tensors = [n for n in names if is_value(self.env.get(n))]
            if tensors:
                raise OpError(
                    f"`{tensors[0]}` is a tensor; an expression here has only numbers",
                    hint="arithmetic on values is `{formula: …}`",
                    at=getattr(fn, "span", None),
                ) from None
            raise
        token = decider.set(_Knowing(self.facts, decider.get()))
        try:
            return fn(self.env)
        finally:
            decider.reset(token)

    def truth(self, fn: Any) -> bool:
        """Evaluate a condition to true or false.

        Raises
        ------
        NeedsValue
            If it depends on a late value.
        OpError
            If it is not boolean.
        """
        value = self.value(fn)
        if value is True or value is False:
            return bool(value)
        if isinstance(value, (Late, Real)):
            raise NeedsValue(value)
        if isinstance(value, Cond):
            try:
                return bool(value)
            except SymbolicTruth as error:
                error.at = getattr(fn, "span", None)
                raise
        at = getattr(fn, "span", None)
        raise OpError("this is no condition", "true or false", show_value(value), at=at)

    def condition(self, r: Local) -> bool | Cond:
        """The value of a ``requires`` entry; what is undecided of it as a condition.

        Raises
        ------
        As `truth` does.
        """
        assert r.expr is not None
        value = condition(r.expr, self.env)
        return self.facts.decide(value) if isinstance(value, (bool, Cond)) else self.truth(r.fn)

    # -- finish --------------------------------------------------------------------------------------------------

    def finish(
        self,
        outputs: tuple[tuple[str, ValueRef], ...],
        args: tuple[tuple[str, Any], ...] = (),
        name: str | None = None,
        whole: bool = False,
    ) -> Graph:
        """The graph: nodes that no output needs are dropped, but for those marked unused, or unless it is ``whole``."""
        nodes = self.nodes
        if whole:
            return self._graph(nodes, outputs, args, name)
        needed = [False] * (len(nodes) + 1)  # the last is number -1, the graph's inputs
        for _, ref in outputs:
            needed[ref[0]] = True
        owners: set[str] = set()
        for k in range(len(nodes) - 1, -1, -1):
            n = nodes[k]
            if not needed[k]:
                if "unused" not in n.flags and n.name not in owners:
                    continue
                needed[k] = True
            for r in n.inputs:
                if r is not None:
                    needed[r[0]] = True
            for _, r in n.weights:
                if r is not None:
                    needed[r[0]] = True
            if n.share is not None:
                owners.add(n.share[0])
            if n.op is not None and n.op.reads is not None:
                owners.add(n.op.reads.partition(".")[0])
        needed.pop()
        if not all(needed):
            renumber: dict[int, int] = {-1: -1}
            kept: list[Node] = []
            for k, n in enumerate(nodes):
                if not needed[k]:
                    continue
                renumber[k] = len(kept)
                inputs = tuple(None if r is None else (renumber[r[0]], r[1]) for r in n.inputs)
                weights = tuple((w, None if r is None else (renumber[r[0]], r[1])) for w, r in n.weights)
                kept.append(
                    n if inputs == n.inputs and weights == n.weights else n.replace(inputs=inputs, weights=weights)
                )
            nodes = kept
            outputs = tuple((o, (renumber[r[0]], r[1])) for o, r in outputs)
        return self._graph(nodes, outputs, args, name)

    def _graph(
        self,
        nodes: list[Node],
        outputs: tuple[tuple[str, ValueRef], ...],
        args: tuple[tuple[str, Any], ...],
        name: str | None,
    ) -> Graph:
        graph = Graph(
            name or self.block.name,
            tuple(self.inputs),
            tuple(nodes),
            outputs,
            args,
            late_of(nodes),
            tuple(self.guards),
            self.block.source,
        )
        if len(nodes) == len(self.nodes):
            graph._cache["size"] = self.total
        return graph
