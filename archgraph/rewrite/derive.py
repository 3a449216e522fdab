"""The entries of a ``rewrite:`` section: which rule, with which settings, where; see `archgraph.spec.derive`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from archgraph.ir.diagnostics import Collector, Span, SpecError, did_you_mean
from archgraph.ir.graph import Graph
from archgraph.rewrite.api import apply_rule
from archgraph.rewrite.rule import Rule, Where, load_rule, read_where
from archgraph.spec.compile import Compiler
from archgraph.spec.evaluators import Computed
from archgraph.spec.frame import FAULTS, Session
from archgraph.spec.host_values import read_expression
from archgraph.spec.model import Block, Param, SpecFile
from archgraph.spec.yaml import YList, YMap, span_of

__all__ = ["Entry", "apply", "read"]

KEYS: Final = ("rule", "set", "where", "expect", "when")


class Entry:
    """One application of a rule in a derived spec.

    ``settings``: param → value, or a function of the spec's params and of what is bound at a site.
    """

    __slots__ = ("expect", "rule", "settings", "span", "when", "where")

    def __init__(self, rule: Rule, span: Span) -> None:
        self.rule = rule
        self.span = span
        self.settings: dict[str, Any] = {}
        self.where: Where | None = None
        self.expect: Any = None
        self.when: Any = None

    def open_params(self) -> Iterator[tuple[str, Param]]:
        """Params of the rule that the entry leaves open; null where the rule's default needs a site."""
        for name, p in self.rule.params.items():
            if name in self.settings:
                continue
            if p.required or (p.default is not None and not p.names <= set(self.rule.params)):
                yield name, Param(name, "expr", value=None, span=p.span)
            else:
                yield name, p

    def __repr__(self) -> str:
        return f"<Entry {self.rule.name}>"


def read(raw: Any, container: YMap, key: str, file: SpecFile, block: Block, faults: Collector) -> tuple[Entry, ...]:
    """The entries of a section: a list of rule names and mappings."""
    found: list[Entry] = []
    items = raw if isinstance(raw, YList) else None
    if items is None:
        faults.error("rewrite/form", span_of(container, key), "`rewrite` is a list of `{rule: name, …}`")
        return ()
    for k, item in enumerate(items):
        span = span_of(items, k)
        if isinstance(item, str):
            item_map = YMap(file.path, items.pos[k])
            item_map["rule"] = item
            item_map.pos["rule"] = (items.pos[k], items.pos[k])
            item = item_map
        if not isinstance(item, YMap) or not isinstance(item.get("rule"), str):
            faults.error("rewrite/form", span, "an entry of `rewrite` names its `rule`", expected=", ".join(KEYS))
            continue
        for word in item:
            if word not in KEYS:
                near = did_you_mean(str(word), KEYS)
                faults.error(
                    "key/unknown",
                    span_of(item, word, key=True),
                    f"an entry of `rewrite` has no key `{word}`",
                    expected=", ".join(KEYS),
                    hint=f"did you mean `{near}`?" if near else "params of the rule stand under `set`",
                )
        entry = _entry(item, span, file, block, faults)
        if entry is not None:
            found.append(entry)
    return tuple(found)


def _entry(item: YMap, span: Span, file: SpecFile, block: Block, faults: Collector) -> Entry | None:
    try:
        entry = Entry(load_rule(item["rule"], file.path), span_of(item, "rule"))
    except SpecError as error:
        for d in error.diagnostics:
            if d.at is None:
                faults.error(d.code, span_of(item, "rule"), d.message, hint=d.hint)
            else:
                faults.add(d)
        return None
    rule = entry.rule
    given = item.get("set", YMap(file.path))
    if not isinstance(given, YMap):
        faults.error("rewrite/set", span_of(item, "set"), "`set` maps params of the rule to values")
        given = YMap(file.path)
    compiler = Compiler(Block("", file, None, root=True), faults)
    for name, value in given.items():
        p = rule.params.get(str(name))
        if p is None:
            near = did_you_mean(str(name), rule.params)
            faults.error(
                "set/unknown",
                span_of(given, name, key=True),
                f"the rule `{rule.name}` has no param `{name}`",
                expected=", ".join(rule.params) or "no params",
                hint=f"did you mean `{near}`?" if near else None,
            )
            continue
        _, entry.settings[str(name)] = compiler.argument(p, value, given, name, set())
    if "where" in item:
        entry.where = read_where(item["where"], item, "where", faults)
    for word in ("expect", "when"):
        if word in item:
            setattr(entry, word, Computed(read_expression(item[word], item, word, faults), item, word))
    return entry


def apply(entries: tuple[Entry, ...], graph: Graph, env: Mapping[str, Any], session: Session) -> Graph:
    """The graph with the entries applied in order; ``env`` holds the spec's params and locals.

    Raises
    ------
    SpecError
        With the fault of the first entry that can't be applied.
    """
    for entry in entries:
        graph = apply_entry(entry, graph, env, session)
    return graph


def apply_entry(entry: Entry, graph: Graph, env: Mapping[str, Any], session: Session) -> Graph:
    """One entry applied."""
    from archgraph.ir.diagnostics import Diagnostic

    try:
        if entry.when is not None and entry.when(env) is not True:
            return graph
        expect = None if entry.expect is None else entry.expect(env)
    except FAULTS as error:
        raise SpecError(Diagnostic("expr/value", entry.span, str(error))) from error
    settings = dict(entry.settings)
    for name, _ in entry.open_params():
        if env.get(name) is not None:
            settings[name] = env[name]
    return apply_rule(
        graph,
        entry.rule,
        settings=settings,
        where=entry.where,
        expect=expect,
        session=session,
        surroundings=env,
        span=entry.span,
    ).after
