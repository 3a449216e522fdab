"""Reading the section ``reference:`` of a spec file; every fault is reported with its place."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from archgraph.ir.diagnostics import Collector, Span, SpecError, did_you_mean
from archgraph.spec.change import CHANGE_KEYS, read_change
from archgraph.spec.expr import Expr
from archgraph.spec.host_values import HostValue, freeze_data, read_expression, read_value
from archgraph.spec.key_patterns import KeyPattern, KeyTemplate, PatternError
from archgraph.spec.keys import Rule
from archgraph.spec.model import Block, SpecFile
from archgraph.spec.reference import ANY, SURROUNDINGS, Allowed, Published, Reading, Reference
from archgraph.spec.yaml import YList, YMap, span_of

__all__ = ["references"]

ENTRY_KEYS: Final = (
    "also",
    "to",
    "when",
    "args",
    "ignored",
    "let",
    "params",
    "dims",
    "inputs",
    "unread",
    "outputs",
    "use",
    "rename",
    "published",
)
_RULE_KEYS: Final = ("to", "part", "when")
_MANY: Final = ("split", "chunk", "unbind")
_MAX_FILES: Final = 256

_known: dict[int, tuple[SpecFile, dict[str, Reference]]] = {}


def references(file: SpecFile) -> Mapping[str, Reference]:
    """The entries of a file by name; parsed once.

    Raises
    ------
    SpecError
        With every fault found.
    """
    known = _known.get(id(file))
    if known is not None:
        return known[1]
    faults = Collector()
    found = _Section(file, faults).read()
    faults.raise_if_any()
    if len(_known) >= _MAX_FILES:
        _known.clear()
    _known[id(file)] = (file, found)  # the file is kept, so that its id stays its own
    return found


class _Section:
    """Reads one file's section."""

    def __init__(self, file: SpecFile, faults: Collector) -> None:
        self.file = file
        self.faults = faults
        self.raw: YMap = YMap(file.path)
        self.found: dict[str, Reference] = {}
        self.own: dict[str, list[Rule]] = {}

    def read(self) -> dict[str, Reference]:
        raw = self.file.reference
        if raw is None:
            return {}
        if not isinstance(raw, YMap):
            self.fault("reference/form", span_of(self.file.tree, "reference"), "`reference` maps classes to entries")
            return {}
        self.raw = raw
        for name, entry in raw.items():
            if not isinstance(entry, YMap):
                message = "an entry is a mapping"
                self.fault("reference/form", span_of(raw, name), message, expected=", ".join(ENTRY_KEYS))
                continue
            read = _Entry(self, " ".join(str(name).split()), entry, span_of(raw, name, key=True)).read()
            if read is not None:
                self.found[read.name] = read
        for name, entry in raw.items():
            reference = self.found.get(" ".join(str(name).split()))
            if reference is not None:
                reference.rules = tuple(self.rules(reference.name, entry, ()))
        return self.found

    # -- use ---------------------------------------------------------------------------------------------------------

    def rules(self, name: str, entry: YMap, above: tuple[str, ...]) -> Iterator[Rule]:
        """The rules of an entry, those that it uses first."""
        raw = entry.get("use")
        uses = raw if isinstance(raw, YList) else [] if raw is None else [raw]
        for k, item in enumerate(uses):
            span = span_of(raw, k) if isinstance(raw, YList) else span_of(entry, "use")
            word, within = self.used(item, span)
            if word is None:
                continue
            other = self.other(word, span)
            if other is None:
                continue
            if other.file is self.file and other.name in (*above, name):
                self.fault("use/cycle", span, f"`use` goes in a circle: {' → '.join((*above, name, other.name))}")
                continue
            if other.file is self.file:
                its = list(self.rules(other.name, self.entry(other.name), (*above, name)))
            else:
                its = list(other.rules)
            if within is None:
                yield from its
                continue
            if any(rule.within is not None for rule in its):
                self.fault("use/at", span, f"`{other.name}` uses entries at paths of its own: `at` can't be nested")
                continue
            yield from (rule.below(within) for rule in its)
        yield from self.own[name]

    def used(self, item: Any, span: Span) -> tuple[str | None, KeyPattern | None]:
        if isinstance(item, str):
            return item, None
        if isinstance(item, YMap) and isinstance(item.get("of"), str) and set(item) <= {"of", "at"}:
            at = item.get("at")
            if at is None:
                return str(item["of"]), None
            try:
                return str(item["of"]), KeyPattern(str(at))
            except PatternError as error:
                self.fault("rename/pattern", span_of(item, "at"), f"`{at}`: {error}")
                return None, None
        self.fault("use/form", span, "`use` names entries", expected="a name, or {of: name, at: path}")
        return None, None

    def other(self, word: str, span: Span) -> Reference | None:
        """The entry that a word of ``use`` names: by key or spelling, else by what stands after ``::``."""
        pool = list(self.found.values())
        for library in self.file.libraries:
            try:
                pool += references(library).values()
            except SpecError as error:
                self.faults.extend(error.diagnostics)
        word = " ".join(word.split())
        exact = [r for r in pool if word in r.spellings]
        short = [r for r in pool if any(s.rpartition("::")[2] == word for s in r.spellings)]
        for hits in (exact, short):
            if len(hits) == 1 or (hits and hits is exact):
                return hits[0]
            if hits:
                several = ", ".join(r.name for r in hits)
                self.fault("use/several", span, f"`{word}` may be {several}", hint="write the whole key")
                return None
        near = did_you_mean(word, [s for r in pool for s in (*r.spellings, r.name.rpartition("::")[2])])
        hint = f"did you mean `{near}`?" if near else None
        self.fault("use/unknown", span, f"there is no entry `{word}`", hint=hint)
        return None

    def entry(self, name: str) -> YMap:
        for key, entry in self.raw.items():
            if " ".join(str(key).split()) == name:
                assert isinstance(entry, YMap)
                return entry
        raise KeyError(name)

    def fault(self, code: str, span: Span | None, message: str, **more: Any) -> None:
        self.faults.error(code, span, message, **more)


class _Entry:
    """Reads one entry."""

    def __init__(self, section: _Section, name: str, raw: YMap, span: Span) -> None:
        self.section = section
        self.faults = section.faults
        self.file = section.file
        self.raw = raw
        self.name = name
        self.span = span
        self.names: set[str] = set()

    def read(self) -> Reference | None:
        raw = self.raw
        for key in raw:
            if key not in ENTRY_KEYS:
                self.unknown(raw, key, ENTRY_KEYS, "an entry of `reference`", key=True)
        block = self.target()
        if block is None:
            self.section.own[self.name] = []
            return None
        found = Reference(self.name, self.file, block, self.span)
        found.also = tuple(" ".join(text.split()) for text in self.texts("also"))
        found.unread = frozenset(self.texts("unread"))
        found.defaults = {str(k): freeze_data(v) for k, v in self.mapping("args").items()}
        found.ignored = self.ignored()
        if "when" in raw:
            found.when = read_expression(raw["when"], raw, "when", self.faults)
            self.names |= found.when.names
        found.lets = self.values("let")
        found.params = self.values("params", self.file.params if block.root else block.params, f"`{block.name}`")
        found.dims = self.values("dims", self.dims(block), f"a grid in the inputs of `{block.name}`")
        found.inputs = self.readings("inputs", block.inputs)
        found.outputs = self.readings("outputs", None)
        self.section.own[self.name] = rules = list(self.rename(found))
        found.published = self.published(found)
        for rule in rules:
            self.names |= _names_of(rule)
        found.read = frozenset(self.names)
        self.clashes(found)
        return found

    # -- the target --------------------------------------------------------------------------------------------------

    def target(self) -> Block | None:
        word = self.raw.get("to")
        graphs = list(self.file.graphs.values())
        if word == "graph" and "graph" not in self.file.graphs and graphs:
            return graphs[0]
        found = self.file.find(word) if isinstance(word, str) else None
        if found is None:
            near = did_you_mean(str(word), ["graph", *self.file.block_names()])
            self.fault(
                "reference/to",
                span_of(self.raw, "to") if "to" in self.raw else self.span,
                "an entry says what of ours it is: `to`" if word is None else f"there is no graph or block `{word}`",
                expected="graph, or the name of a graph or block",
                hint=f"did you mean `{near}`?" if near else None,
            )
        return found

    def dims(self, block: Block) -> set[str]:
        names: set[str] = set()
        for i in block.inputs.values():
            for axis in i.pattern.axes:
                for part in (axis.prefix, *axis.grid):
                    names |= part.names if part is not None else frozenset()
        return names

    # -- sections of an entry ----------------------------------------------------------------------------------------

    def values(self, key: str, known: Collection[str] | None = None, what: str = "") -> dict[str, HostValue]:
        raw = self.mapping(key)
        found: dict[str, HostValue] = {}
        for name, item in raw.items():
            if known is not None and name not in known:
                self.unknown(raw, name, known, what, key=True)
                continue
            value = found[str(name)] = read_value(item, raw, name, self.file, self.faults)
            self.names |= value.names
        return found

    def ignored(self) -> dict[str, Allowed]:
        raw = self.mapping("ignored")
        found: dict[str, Allowed] = {}
        for name, item in raw.items():
            if item == "_":
                found[str(name)] = ANY
            elif isinstance(item, YMap) and set(item) == {"one_of"} and isinstance(item["one_of"], YList):
                found[str(name)] = Allowed(tuple(map(freeze_data, item["one_of"])))
            else:
                found[str(name)] = Allowed((freeze_data(item),))
        return found

    def readings(self, key: str, known: Mapping[str, Any] | None) -> dict[str, Reading | None]:
        raw = self.mapping(key)
        found: dict[str, Reading | None] = {}
        for name, item in raw.items():
            if known is not None and name not in known:
                self.unknown(raw, name, known, "the graph's inputs", key=True)
                continue
            found[str(name)] = None if item is None else self.reading(item, raw, name)
        return found

    def reading(self, item: Any, container: YMap, key: Any) -> Reading | None:
        if isinstance(item, str):
            return Reading((item,))
        if isinstance(item, YList) and item and all(isinstance(name, str) for name in item):
            return Reading(tuple(item), is_list=True)
        if isinstance(item, YMap) and "from" in item:
            change = read_change(item, ("from", "mode"), self.faults)
            if change is not None:
                self.names |= change.names
            mode = item.get("mode")
            if mode not in (None, "train", "eval"):
                self.fault("reference/mode", span_of(item, "mode"), "`mode` is `train` or `eval`", found=str(mode))
                mode = None
            source = item["from"]
            names = tuple(source) if isinstance(source, YList) else (source,)
            if names and all(isinstance(name, str) for name in names):
                return Reading(names, isinstance(source, YList), change, mode)
        span = span_of(container, key)
        self.fault("reference/value", span, "this names a value", expected="a name, {from: name, op: …}, or null")
        return None

    def published(self, found: Reference) -> dict[str, Published]:
        raw = self.mapping("published")
        variants: dict[str, Published] = {}
        for name, item in raw.items():
            span = span_of(raw, name)
            if not isinstance(item, YMap) or not set(item) <= {"variant", "args", "at"} or not item.keys() - {"at"}:
                message = "a published variant has `variant`, `args`, or both"
                self.fault("published/form", span, message, expected="{variant: …, args: {…}, at: {…}}")
                continue
            variant = item.get("variant")
            if variant is not None and variant not in self.file.variants:
                self.unknown(item, "variant", self.file.variants, f"`{self.file.name}`", word=str(variant))
                continue
            args, at = item.get("args"), item.get("at")
            if any(part is not None and not isinstance(part, YMap) for part in (args, at)):
                self.fault("published/form", span, "`args` and `at` are mappings")
                continue
            variants[str(name)] = Published(
                str(name),
                None if variant is None else str(variant),
                None if args is None else {str(k): freeze_data(v) for k, v in args.items()},
                None if at is None else {str(k): freeze_data(v) for k, v in at.items()},
                span,
            )
        return variants

    def clashes(self, found: Reference) -> None:
        """Names that mean two things."""
        for name in found.lets.keys() & (found.defaults.keys() | found.ignored.keys()):
            self.fault("name/taken", span_of(self.raw["let"], name, key=True), f"`{name}` is an argument already")
        for name in found.ignored.keys() & self.names:
            span = span_of(self.raw["ignored"], name, key=True)
            self.fault("reference/ignored", span, f"`{name}` is ignored, and read elsewhere in the entry")

    # -- renames -----------------------------------------------------------------------------------------------------

    def rename(self, found: Reference) -> Iterator[Rule]:
        raw = self.mapping("rename")
        for key, item in raw.items():
            try:
                rule = self.rule(KeyPattern(str(key)), item, raw, key)
            except PatternError as error:
                self.fault("rename/pattern", span_of(raw, key, key=True), f"`{key}`: {error}")
                continue
            if rule is not None:
                self.check_names(rule, found, raw, key)
                yield rule

    def rule(self, pattern: KeyPattern, item: Any, container: YMap, key: Any) -> Rule | None:
        span = span_of(container, key, key=True)
        if item is None:
            return Rule(pattern, (), span=span)
        if not isinstance(item, YMap):
            return Rule(pattern, (self.template(item, container, key),), span=span)
        part = item.get("part")
        if part is not None and (isinstance(part, bool) or not isinstance(part, int) or part < 0):
            self.fault("rename/part", span_of(item, "part"), "`part` is the number of a piece, from 0", found=str(part))
            part = None
        # Beside `part`, `dim` is the axis of the concatenation; an op with a `dim` of its own then stands in `do`.
        joins = part is not None
        dim = item.get("dim", 0) if joins else 0
        if isinstance(dim, bool) or not isinstance(dim, int):
            self.fault("rename/part", span_of(item, "dim"), "`dim` is an axis", found=str(dim))
            dim = 0
        change = read_change(item, (*_RULE_KEYS, "dim") if joins else _RULE_KEYS, self.faults)
        when = read_expression(item["when"], item, "when", self.faults) if "when" in item else None
        to = item.get("to")
        targets: tuple[KeyTemplate | None, ...]
        if "to" in item and to is None:
            targets = ()
        elif isinstance(to, YList):
            targets = tuple(self.template(word, to, k) for k, word in enumerate(to))
            if change is None or change.op not in _MANY:
                self.fault("rename/many", span, "one tensor becomes several by an op", expected=", ".join(_MANY))
                return None
        else:
            targets = (None if to is None else self.template(to, item, "to"),)
        if to is None and "to" not in item and change is None:
            keys = ", ".join(("to", *CHANGE_KEYS))
            self.fault("rename/target", span_of(container, key), "this says no target", expected=keys)
            return None
        return Rule(pattern, targets, change=change, part=part, dim=dim, when=when, span=span)

    def template(self, raw: Any, container: YMap | YList, key: Any) -> KeyTemplate:
        if isinstance(raw, bool) or not isinstance(raw, (str, int)):
            self.fault("rename/target", span_of(container, key), "a target is a text, a mapping or null")
            return KeyTemplate("")
        try:
            return KeyTemplate(str(raw))
        except PatternError as error:
            self.fault("rename/target", span_of(container, key), f"`{raw}`: {error}")
            return KeyTemplate("")

    def check_names(self, rule: Rule, found: Reference, raw: YMap, key: Any) -> None:
        """Captures of a target are bound; names in its expressions are captures, arguments or locals."""
        captures = rule.pattern.captures
        for template in rule.targets:
            for name in sorted(template.captures - captures) if template is not None else ():
                self.fault("rename/capture", span_of(raw, key), f"`${name}` is not captured by `{key}`")
        known = {*captures, *found.defaults, *found.ignored, *found.lets, *self.names, *SURROUNDINGS}
        for name in sorted(_names_of(rule) - known):
            near = did_you_mean(name, known)
            self.fault(
                "name/unknown",
                span_of(raw, key),
                f"nothing here is called `{name}`",
                expected="a captured name, an argument that the entry reads, or a local",
                hint=f"did you mean `{near}`?" if near else None,
            )

    # -- helpers -----------------------------------------------------------------------------------------------------

    def mapping(self, key: str) -> YMap:
        raw = self.raw.get(key)
        if isinstance(raw, YMap):
            return raw
        if raw is not None:
            self.fault(f"{key}/form", span_of(self.raw, key), f"`{key}` is a mapping")
        return YMap(self.file.path)

    def texts(self, key: str) -> list[str]:
        raw = self.raw.get(key, [])
        items = raw if isinstance(raw, YList) else [raw] if raw != [] else []
        if not all(isinstance(item, str) for item in items):
            self.fault(f"{key}/form", span_of(self.raw, key), f"`{key}` is a text or a list of texts")
            return []
        return list(items)

    def unknown(
        self, raw: YMap, name: Any, known: Iterable[str], what: str, *, key: bool = False, word: str | None = None
    ) -> None:
        word = str(name) if word is None else word
        near = did_you_mean(word, known)
        self.fault(
            "key/unknown",
            span_of(raw, name, key=key),
            f"{what} has no `{word}`",
            expected=", ".join(known) or "nothing",
            hint=f"did you mean `{near}`?" if near else None,
        )

    def fault(self, code: str, span: Span | None, message: str, **more: Any) -> None:
        self.faults.error(code, span, message, **more)


def _names_of(rule: Rule) -> frozenset[str]:
    """Names that a rule's expressions read, apart from what its pattern captures."""
    names = frozenset[str]().union(*(template.names for template in rule.targets if template is not None))
    when: Expr | None = rule.when
    names |= when.names if when is not None else frozenset()
    names |= rule.change.names if rule.change is not None else frozenset()
    return names - rule.pattern.captures
