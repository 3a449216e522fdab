"""YAML as a small, unambiguous data language in which every value knows its position.

The dialect is what YAML 1.1 (stock PyYAML), YAML 1.2 and JSON readers agree on: `true`, `false`, `null`, decimal
numbers as JSON writes them, and text. A plain scalar that one of them reads otherwise (`1e-6`, `no`, `1:30`, `013`) is
refused together with the spelling that all read alike. So are duplicate keys, anchors, aliases, tags, merge keys,
several documents, nulls that nobody wrote, and the silent damage of a comma in flow style (`{out: max(a, b)}`).

Trees are built from parser events, never by `yaml.compose`: the C composer recurses on the C stack and ends the process
at some 30,000 nested brackets, and an alias bomb would be composed before anybody could look at it.
"""

from __future__ import annotations

import gc
import os
import re
from typing import Any, Final

import yaml

from archgraph.ir.diagnostics import Collector, Diagnostic, Span, SpecError, remember_source
from archgraph.spec.yaml_dump import dump_yaml
from archgraph.spec.yaml_hints import Damage, damage_diagnostics, syntax_diagnostic
from archgraph.spec.yaml_scalars import Refused, clip, number_text, quote, resolve

__all__ = ["MAX_BYTES", "MAX_DEPTH", "Mark", "YList", "YMap", "dump_yaml", "load_yaml", "read_source", "span_of"]

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 64

Mark = tuple[int, int, int, int]
"""Where a node stands: start line, start column, end line, end column, all from 0."""

Key = str | int | bool
_NOWHERE: Final[Mark] = (0, 0, 0, 0)
_NONE: Final[frozenset[Any]] = frozenset()
_Loader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YMap(dict[Key, Any]):
    """A mapping with positions: `pos[key]` holds the marks of key and value, `quoted` the keys of quoted scalars."""

    __slots__ = ("file", "mark", "pos", "quoted")

    file: str
    mark: Mark
    pos: dict[Key, tuple[Mark, Mark]]
    quoted: frozenset[Key]

    def __init__(self, file: str = "", mark: Mark = _NOWHERE) -> None:
        self.file = file
        self.mark = mark
        self.pos = {}
        self.quoted = _NONE


class YList(list[Any]):
    """A sequence with positions: `pos[i]` holds the mark of item i, `quoted` the indices of quoted scalars."""

    __slots__ = ("file", "mark", "pos", "quoted")

    file: str
    mark: Mark
    pos: list[Mark]
    quoted: frozenset[int]

    def __init__(self, file: str = "", mark: Mark = _NOWHERE) -> None:
        self.file = file
        self.mark = mark
        self.pos = []
        self.quoted = _NONE


def span_of(container: YMap | YList, at: Key | None = None, *, key: bool = False) -> Span:
    """The span of a container's value at a key or index, or of that key itself.

    Without `at`, or for a key that a mapping lacks, the span of the container.
    """
    if at is None:
        mark = container.mark
    elif isinstance(container, YMap):
        marks = container.pos.get(at)
        mark = container.mark if marks is None else marks[0 if key else 1]
    else:
        mark = container.pos[int(at)]
    return _span(container.file, mark)


def read_source(path: str | os.PathLike[str]) -> str:
    """The text of a spec file: UTF-8, at most 1 MiB. Raises `SpecError` when it can't be read."""
    file = os.fspath(path)
    try:
        size = os.stat(file).st_size
        if size > MAX_BYTES:
            raise _refused("yaml/size", file, f"the file has {size:,} bytes; at most {MAX_BYTES:,} are read")
        with open(file, "rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _refused("yaml/file", file, "no such file") from None
    except IsADirectoryError:
        raise _refused("yaml/file", file, "this is a directory, a YAML file was expected") from None
    except OSError as error:
        raise _refused("yaml/file", file, f"can't be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise _refused("yaml/size", file, f"the file has more than {MAX_BYTES:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        what = f"byte 0x{data[error.start]:02x} is not UTF-8"
        hint = "save the file as UTF-8"
        raise SpecError(Diagnostic("yaml/encoding", Span(file, line, column), what, hint=hint)) from None


def load_yaml(text: str, file: str = "<text>") -> Any:
    """The tree of one YAML document: `YMap`, `YList`, str, int, float, bool or None.

    `file` names the text in diagnostics; the text is kept for their source lines. Raises `SpecError` with every fault
    found (a syntax error ends the reading).
    """
    remember_source(file, text)
    if len(text) > MAX_BYTES:
        raise _refused("yaml/size", file, f"the text has {len(text):,} characters; at most {MAX_BYTES:,} are read")
    bad = _UNREADABLE.search(text)
    if bad:
        raise _unreadable(text, file, bad.start())
    enabled = gc.isenabled()
    gc.disable()  # 4.5 times faster on large files: events are plenty, short-lived and free of cycles
    try:
        reader = _Reader(text, file)
        tree = reader.read()
    finally:
        if enabled:
            gc.enable()
    reader.faults.raise_if_any()
    return tree


_UNREADABLE: Final = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_EXPECT: Final[Any] = object()  # a mapping waits for a key
_UNSEEN: Final[Any] = object()
_plain: dict[str, Any] = {}  # plain scalars resolved before, parentheses balanced: files repeat a few hundred words
_MAX_PLAIN: Final = 4096


class _Frame:
    """An open container. `key` is the key whose value comes next, or `_EXPECT`; `damage` what looks cut by a comma."""

    __slots__ = ("damage", "in_flow", "is_map", "key", "key_mark", "node", "quoted", "start")

    def __init__(self, node: YMap | YList, start: Any, in_flow: bool) -> None:
        self.node: Any = node
        self.is_map = type(node) is YMap
        self.in_flow = in_flow
        self.key: Any = _EXPECT
        self.key_mark = _NOWHERE
        self.start = start
        self.quoted: list[Any] | None = None
        self.damage: list[Damage] | None = None

    def quote(self, at: Any) -> None:
        """Note that the scalar filed under `at` stands in quotes."""
        if self.quoted is None:
            self.quoted = []
        self.quoted.append(at)


class _Reader:
    """Builds the tree from parser events, without recursion."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.faults = Collector()
        self.top = _Frame(YList(file), None, False)  # the list of documents
        self.stack: list[_Frame] = []

    def read(self) -> Any:
        """The tree of the document; without meaning if faults were found."""
        loader = _Loader(self.text)
        next_event = loader.get_event
        handlers = {
            yaml.MappingStartEvent: self._open,
            yaml.SequenceStartEvent: self._open,
            yaml.MappingEndEvent: self._close,
            yaml.SequenceEndEvent: self._close,
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._document,
        }
        skipped = (yaml.StreamStartEvent, yaml.DocumentEndEvent)
        scalar, known_plain = yaml.ScalarEvent, _plain
        try:
            while True:
                event = next_event()
                kind = type(event)
                if kind is scalar:
                    # The common case in place of `_scalar` and `_attach`: a plain scalar, met before, in a mapping.
                    frame = self.top
                    if frame.is_map and event.implicit[0] and event.anchor is None and event.tag is None:
                        value = known_plain.get(event.value, _UNSEEN)
                        if value is not _UNSEEN:
                            start, end = event.start_mark, event.end_mark
                            mark = (start.line, start.column, end.line, end.column)
                            key = frame.key
                            if key is not _EXPECT:
                                frame.node[key] = value
                                frame.node.pos[key] = (frame.key_mark, mark)
                                frame.key = _EXPECT
                                continue
                            if type(value) is str and value not in frame.node:
                                frame.key, frame.key_mark = value, mark
                                continue
                    self._scalar(event)
                    continue
                handler = handlers.get(kind)
                if handler is not None:
                    handler(event)
                elif kind not in skipped:
                    break
        except yaml.MarkedYAMLError as error:
            for frame in (*self.stack, self.top):
                self._report_damage(frame)
            self.faults.add(syntax_diagnostic(error, self.file))
            return None
        finally:
            loader.dispose()
        documents = self.top.node
        if not documents:
            self._fault("yaml/empty", _NOWHERE, "nothing is written here")
            return None
        return documents[0]

    def _scalar(self, event: Any) -> None:
        start, end = event.start_mark, event.end_mark
        mark = (start.line, start.column, end.line, end.column)
        value = event.value
        plain = event.implicit[0]
        if plain:
            known = _plain.get(value, _UNSEEN)
            value = known if known is not _UNSEEN else self._resolve(value, mark)
        if event.anchor is not None or event.tag is not None:
            self._decoration(event, mark)
        self._attach(value, mark, plain)

    def _open(self, event: Any) -> None:
        start = event.start_mark
        if event.anchor is not None or event.tag is not None:
            self._decoration(event, (start.line, start.column, 0, 0))
        self.stack.append(self.top)
        if len(self.stack) > MAX_DEPTH:
            self._fault("yaml/depth", (start.line, start.column, 0, 0), f"more than {MAX_DEPTH} levels of nesting")
            raise SpecError(*self.faults.diagnostics)
        node = YMap(self.file) if type(event) is yaml.MappingStartEvent else YList(self.file)
        self.top = _Frame(node, start, event.flow_style)

    def _close(self, event: Any) -> None:
        frame = self.top
        node, start, end = frame.node, frame.start, event.end_mark
        mark = node.mark = (start.line, start.column, end.line, end.column)
        if frame.quoted is not None:
            node.quoted = frozenset(frame.quoted)
        if frame.damage is not None:
            self._report_damage(frame)
        self.top = self.stack.pop()
        self._attach(node, mark, True)

    def _attach(self, value: Any, mark: Mark, plain: bool) -> None:
        frame = self.top
        node = frame.node
        if not frame.is_map:
            if not plain:
                frame.quote(len(node))
            node.append(value)
            node.pos.append(mark)
            return
        key = frame.key
        if key is _EXPECT:
            frame.key = value if type(value) is str and value not in node else self._odd_key(value, mark)
            frame.key_mark = mark
        else:
            node[key] = value
            node.pos[key] = (frame.key_mark, mark)
            frame.key = _EXPECT
            if not plain:
                frame.quote(key)

    def _resolve(self, text: str, mark: Mark) -> Any:
        """The value of a plain scalar that was not met before."""
        frame = self.top
        balanced = text.count("(") == text.count(")")
        if frame.in_flow and not balanced:
            self._damaged(text, mark)
            return text
        if text == "" and frame.is_map and frame.key is not _EXPECT:
            self._empty(mark)
            return None
        try:
            value = resolve(text)
        except Refused as refused:
            self._fault("yaml/scalar", mark, refused.message, hint=f"write {refused.spelling}")
            return text
        if balanced and len(text) <= 40:
            if len(_plain) >= _MAX_PLAIN:
                _plain.clear()
            _plain[text] = value
        return value

    def _empty(self, mark: Mark) -> None:
        """A key without a value: half of a cut text in flow style, a slip or a wrong indentation elsewhere."""
        frame = self.top
        if not frame.in_flow:
            hint = "write `null` if that is meant, else check the indentation of what follows"
            self._fault("yaml/null", frame.key_mark, f"`{clip(_shown(frame.key))}` has no value", hint=hint)
            return
        previous = next(reversed(frame.node), None)
        before = None
        if isinstance(frame.node.get(previous), str) and previous not in (frame.quoted or ()):
            before = frame.node.pos[previous][1]
        self._damaged(str(frame.key), frame.key_mark, before, empty=True)

    def _damaged(self, text: str, mark: Mark, before: Mark | None = None, empty: bool = False) -> None:
        if self.top.damage is None:
            self.top.damage = []
        self.top.damage.append(Damage(text, mark, before, empty))

    def _report_damage(self, frame: _Frame) -> None:
        for fault in damage_diagnostics(frame.damage or (), self.file):
            self._add(fault)

    def _odd_key(self, value: Any, mark: Mark) -> Any:
        """A key that is not a fresh string. Returns the key to file the value under."""
        node = self.top.node
        if isinstance(value, (YMap, YList)):
            self._fault("yaml/key", mark, "a mapping or list can't be a key", hint="quote it if it is text")
        elif value is None or isinstance(value, float):
            shown = "null" if value is None else number_text(value)
            self._fault("yaml/key", mark, f"{shown} can't be a key", hint=f"write `{quote(shown)}` for text")
        elif value in node:
            first = next(key for key in node if key == value)
            same = "" if type(first) is type(value) else " (keys that compare equal)"
            note = (_span(self.file, node.pos[first][0]), "first written here")
            self._fault(
                "yaml/duplicate", mark, f"the key `{clip(_shown(value))}` is written twice{same}", notes=(note,)
            )
        else:
            return value
        return f"{mark}"

    def _alias(self, event: Any) -> None:
        start, end = event.start_mark, event.end_mark
        mark = (start.line, start.column, end.line, end.column)
        text = "*" + event.anchor
        hint = f"quote it if it is text: `{quote(clip(text))}`"
        self._fault(
            "yaml/alias", mark, f"`{clip(text)}` is a YAML alias; aliases are not part of the language", hint=hint
        )
        self._attach(text + str(mark), mark, True)

    def _decoration(self, event: Any, mark: Mark) -> None:
        """An anchor or tag in front of a node."""
        if event.anchor is not None:
            what, text = "anchor", "&" + event.anchor
        else:
            what, text = "tag", event.tag.replace("tag:yaml.org,2002:", "!!")
        mark = (mark[0], mark[1], mark[0], mark[1] + len(text))
        hint = f"quote it if it is text that starts with `{text[0]}`"
        self._fault(
            f"yaml/{what}", mark, f"`{clip(text)}` is a YAML {what}; {what}s are not part of the language", hint=hint
        )

    def _document(self, event: Any) -> None:
        if event.tags:
            raise yaml.parser.ParserError(None, None, "%TAG is not part of the language", event.start_mark)
        if self.top.node:
            start = event.start_mark
            mark = (start.line, start.column, start.line, start.column + 3)
            self._fault("yaml/documents", mark, "a second document starts here", hint="one file holds one document")
            raise SpecError(*self.faults.diagnostics)

    def _fault(self, code: str, mark: Mark, message: str, **more: Any) -> None:
        self._add(Diagnostic(code, _span(self.file, mark), message, **more))

    def _add(self, fault: Diagnostic) -> None:
        """Record a fault; with too many of them the reading ends, so that a file of faults costs no time."""
        self.faults.add(fault)
        if len(self.faults) >= self.faults.limit:
            raise SpecError(
                *self.faults.diagnostics, Diagnostic("limit/errors", None, f"too many errors in {self.file}")
            )


def _shown(key: Key) -> str:
    return ("true" if key else "false") if isinstance(key, bool) else str(key)


def _span(file: str, mark: Mark) -> Span:
    line, column, end_line, end_column = mark
    return Span(file, line + 1, column + 1, end_column + 1 if end_line == line and end_column > column else None)


def _refused(code: str, file: str, message: str) -> SpecError:
    return SpecError(Diagnostic(code, Span(file, 1, 1), message))


def _unreadable(text: str, file: str, at: int) -> SpecError:
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    what = f"the character U+{ord(text[at]):04X} is not allowed in a YAML file"
    hint = "in a double-quoted text write it as an escape"
    return SpecError(Diagnostic("yaml/character", Span(file, line, column), what, hint=hint))
