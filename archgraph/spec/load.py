"""Finding and loading specs: paths and shipped names, ``uses``, variants, settings, input sizes."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from archgraph.ir.diagnostics import Collector, Diagnostic, Span, SpecError, did_you_mean
from archgraph.ir.dim import Num
from archgraph.ir.graph import Graph
from archgraph.ir.types import TensorType
from archgraph.ops.base import OpError
from archgraph.spec.compile import Compiler
from archgraph.spec.elaborate import elaborate_root
from archgraph.spec.frame import Session
from archgraph.spec.libraries import shipped_libraries, specs_folder
from archgraph.spec.model import Block, Input, SpecFile
from archgraph.spec.parse import Parser
from archgraph.spec.yaml import YMap, load_yaml, read_source, span_of

_MAX_FILES: Final = 256
_files: dict[tuple[str, int, int], SpecFile] = {}


def shipped() -> dict[str, list[Path]]:
    """Shipped specs by name: one file, or the files of a folder (a paper with several host networks)."""
    found: dict[str, list[Path]] = {}
    root = specs_folder()
    if not root.is_dir():
        return found
    for entry in sorted(root.iterdir()):
        if entry.name in ("blocks", "rewrites"):
            continue
        if entry.suffix == ".yaml":
            found[entry.stem] = [entry]
        elif entry.is_dir():
            files = sorted(entry.glob("*.yaml"))
            if files:
                found[entry.name] = files
    return found


def resolve(name: str) -> list[Path]:
    """The files that a path or shipped name stands for.

    Raises
    ------
    SpecError
        If there is neither a file nor a shipped spec of that name.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(path.glob("*.yaml"))
        if files:
            return files
    known = shipped()
    if name in known:
        return known[name]
    if "/" in name:
        folder, _, stem = name.partition("/")
        for file in known.get(folder, ()):
            if file.stem == stem:
                return [file]
    for files in known.values():
        for file in files:
            if file.stem == name and len(files) > 1:
                return [file]
    choices = [*known, *(f"{k}/{f.stem}" for k, fs in known.items() if len(fs) > 1 for f in fs)]
    near = did_you_mean(name, choices)
    hint = f"did you mean `{near}`?" if near else "`archgraph specs` lists the shipped ones"
    raise SpecError(Diagnostic("spec/unknown", None, f"no file and no shipped spec is called `{name}`", hint=hint))


def parse_file(path: str | os.PathLike[str], stack: tuple[str, ...] = ()) -> SpecFile:
    """Parse a file and what it uses; cached by path, time and size.

    Raises
    ------
    SpecError
        With every fault found.
    """
    file = os.fspath(path)
    try:
        stat = os.stat(file)
        key = (os.path.abspath(file), stat.st_mtime_ns, stat.st_size)
    except OSError:
        key = (os.path.abspath(file), 0, 0)
    known = _files.get(key)
    if known is not None:
        return known
    parsed = parse_text(read_source(file), file, stack)
    if len(_files) > _MAX_FILES:
        _files.clear()
    _files[key] = parsed
    return parsed


def parse_text(text: str, file: str = "<text>", stack: tuple[str, ...] = ()) -> SpecFile:
    """Parse a spec's text; ``file`` names it in diagnostics and is where ``uses`` starts from.

    Raises
    ------
    SpecError
        With every fault found.
    """
    collecting = gc.isenabled()
    gc.disable()  # as in `Spec.graph`: what is made here lives on
    try:
        return _parsed(text, file, stack)
    finally:
        if collecting:
            gc.enable()


def _parsed(text: str, file: str, stack: tuple[str, ...]) -> SpecFile:
    faults = Collector()
    parser = Parser(file, text, faults)
    faults.raise_if_any()
    spec = parser.declare()
    here = (*stack, os.path.abspath(file))
    use_libraries(parser, here)
    if spec.base is not None:
        use_base(parser, here)
    faults.raise_if_any()
    parser.second = True
    parser.compile()
    faults.raise_if_any()
    return spec


def use_libraries(parser: Parser, here: tuple[str, ...]) -> None:
    """Read what a file ``uses``; ``here`` are the files being read, itself last."""
    spec, faults, tree, file = parser.file, parser.faults, parser.tree, parser.path
    libraries: list[SpecFile] = []
    uses = tree.get("uses", [])
    names = [uses] if isinstance(uses, str) else uses
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        faults.error("uses/form", span_of(tree, "uses"), "`uses` is a list of block libraries")
        names = []
    for k, name in enumerate(names):
        span = span_of(uses, k) if not isinstance(uses, str) else span_of(tree, "uses")
        try:
            found = find_library(name, file, span)
            if os.path.abspath(found) in here:
                chain = " → ".join(os.path.basename(p) for p in (*here, found))
                faults.error("uses/cycle", span, f"`uses` goes in a circle: {chain}")
                continue
            library = parse_file(found, here)
        except SpecError as error:
            faults.extend(error.diagnostics)
            continue
        libraries.append(library)
        for block in (*library.blocks.values(), *library.used.values()):
            taken = spec.used.get(block.name)
            if taken is not None and taken is not block:
                faults.error(
                    "uses/twice", span, f"`{block.name}` comes from {taken.file.path} and from {block.file.path}"
                )
            if block.name in spec.blocks:
                continue
            spec.used[block.name] = block
    spec.libraries = tuple(libraries)


def use_base(parser: Parser, here: tuple[str, ...]) -> None:
    """Read the spec that a file is derived from."""
    spec, faults = parser.file, parser.faults
    assert spec.base is not None
    span = span_of(parser.tree, "base")
    try:
        found = find_library(spec.base, parser.path, span, but=here[-1])
        if os.path.abspath(found) in here:
            chain = " → ".join(os.path.basename(p) for p in (*here, found))
            faults.error("base/cycle", span, f"`base` goes in a circle: {chain}")
            return
        spec.origin = parse_file(found, here)
    except SpecError as error:
        faults.extend(error.diagnostics)
        return
    spec.libraries = (*spec.libraries, spec.origin, *spec.origin.libraries)
    for block in (*spec.origin.blocks.values(), *spec.origin.used.values()):
        if block.name not in spec.blocks:
            spec.used.setdefault(block.name, block)


def find_library(name: str, file: str, span: Span | None, but: str = "") -> str:
    """The file of a ``uses`` or ``base`` entry: beside the spec, or among the shipped ones; nothing outside these
    folders, and not the file ``but``.

    Raises
    ------
    SpecError
        If there is none, or the path leads outside.
    """
    if os.path.isabs(name) or "\\" in name or "\0" in name:
        raise SpecError(Diagnostic("uses/path", span, f"`{name}` is no relative path"))
    folder = os.path.dirname(os.path.abspath(file))
    shipped_root = os.fspath(specs_folder())
    suffixed = name if name.endswith(".yaml") else name + ".yaml"
    for base in (folder, shipped_root):
        candidate = os.path.normpath(os.path.join(base, suffixed))
        root = shipped_root if _inside(folder, shipped_root) else folder
        allowed = _inside(candidate, base) or _inside(candidate, root)
        if not allowed:
            raise SpecError(Diagnostic("uses/path", span, f"`{name}` leads outside the folder of the spec"))
        if os.path.isfile(candidate) and candidate != but:
            if not (
                _inside(real := os.path.realpath(candidate), _real_folder(base)) or _inside(real, _real_folder(root))
            ):
                raise SpecError(Diagnostic("uses/path", span, f"`{name}` leads outside the folder of the spec"))
            return candidate
    known = shipped_libraries()
    near = did_you_mean(name, known)
    raise SpecError(
        Diagnostic(
            "uses/unknown",
            span,
            f"there is no library `{name}`",
            expected="a file beside this one, or one of " + ", ".join(known) if known else None,
            hint=f"did you mean `{near}`?" if near else None,
        )
    )


@lru_cache(64)
def _real_folder(path: str) -> str:
    return os.path.realpath(path)


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


class Spec:
    """A loaded spec: its file, the chosen variant, and settings of its params.

    Made by `load`. Immutable in use: `with_settings` gives another one that shares the memo.
    """

    def __init__(
        self,
        file: SpecFile,
        variant: str | None = None,
        settings: Mapping[str, Any] | None = None,
        session: Session | None = None,
    ) -> None:
        self.file = file
        self.variant = variant
        self.settings: dict[str, Any] = dict(settings or {})
        self.session = session if session is not None else Session()

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def label(self) -> str:
        """Name and variant, for reports."""
        return f"{self.name}:{self.variant}" if self.variant else self.name

    @property
    def variants(self) -> list[str]:
        return list(self.file.variants)

    @property
    def graphs(self) -> list[str]:
        return list(self.file.graphs)

    def params(self) -> dict[str, Any]:
        """The value of every param: default, variant, setting."""
        found: dict[str, Any] = {}
        for p in self.file.params.values():
            if self.settings.get(p.name) is not None:
                found[p.name] = self.settings[p.name]
            else:
                found[p.name] = p.value if p.default is None else p.default(found)
        return found

    def with_settings(self, **settings: Any) -> Spec:
        """The same spec with further params set.

        Raises
        ------
        SpecError
            For names that are no params.
        """
        merged = {**self.settings, **checked_settings(self.file, settings)}
        return Spec(self.file, self.variant, merged, self.session)

    def block(self, name: str | None = None) -> Block:
        """A graph of the file by name; without one the only (or first) graph.

        Raises
        ------
        SpecError
            If there is none of that name.
        """
        file = self.file
        if name is None:
            graph = file.variants.get(self.variant or "", {}).get("graph") if self.variant else None
            if isinstance(graph, str):
                return self.block(graph)
            if file.graphs:
                return next(iter(file.graphs.values()))
            raise SpecError(Diagnostic("graph/none", Span(file.path, 1, 1), f"{file.path} has blocks, but no graph"))
        found = file.graphs.get(name) or file.blocks.get(name) or file.used.get(name)
        if found is None:
            near = did_you_mean(name, file.block_names())
            hint = f"did you mean `{near}`?" if near else None
            raise SpecError(
                Diagnostic(
                    "graph/unknown",
                    Span(file.path, 1, 1),
                    f"there is no graph or block `{name}`",
                    expected=", ".join(file.block_names()),
                    hint=hint,
                )
            )
        return found

    def graph(self, name: str | None = None, at: Mapping[str, Any] | None = None) -> Graph:
        """The typed block graph.

        Parameters
        ----------
        name : str, optional
            Which graph; the file's first by default.
        at : mapping, optional
            Input name → shape (ints or dims), type, or a list of these for a list input. Dims left open stay symbolic.
            A size that is one param by itself in the input's pattern sets that param.

        Raises
        ------
        SpecError
            With every fault found.
        """
        block = self.block(name)
        if not block.root:
            raise SpecError(
                Diagnostic("graph/block", block.span, f"`{block.name}` is a block; build it with `build_block`")
            )
        at = dict(at or {})
        settings = dict(self.settings)
        for key, shape in at.items():
            i = block.inputs.get(key)
            if i is None:
                near = did_you_mean(key, block.inputs)
                hint = f"did you mean `{near}`?" if near else None
                raise SpecError(
                    Diagnostic(
                        "at/unknown",
                        next((i.span for i in block.inputs.values()), block.span),
                        f"`{block.name}` has no input `{key}`",
                        expected=", ".join(block.inputs),
                        hint=hint,
                    )
                )
            if not i.is_list and not isinstance(shape, TensorType):
                settings.update(sizes_to_params(self.file, i, shape))
        session = self.session
        session.begin()
        collecting = gc.isenabled()
        gc.disable()  # a burst of small objects that live on: a collection in the midst doubles the time
        try:
            graph = elaborate_root(session, self.file, block, settings, at, self._written)
        finally:
            if collecting:
                gc.enable()
        session.faults.raise_if_any()
        assert graph is not None
        return graph

    def _written(self, param: str, value: Any) -> Span | None:
        """Where the variant gives a param its value; None where something else does."""
        values = self.file.variants.get(self.variant) if self.variant is not None else None
        if not isinstance(values, YMap) or param not in values:
            return None
        return span_of(values, param) if variant_settings(self.file, self.variant).get(param) == value else None

    def example(self, name: str | None = None, batch: int = 1) -> dict[str, Any]:
        """Input shapes for reports: the declared ``at``, with unnamed or open leading batch set to ``batch``."""
        block = self.block(name)
        params = self.params()
        found: dict[str, Any] = {}
        for i in block.inputs.values():
            if i.example is not None:
                found[i.name] = _known(i.example, params)
        return found

    def __repr__(self) -> str:
        return f"<Spec {self.label}>"


def _known(example: tuple[Any, ...], params: Mapping[str, Any]) -> tuple[Any, ...]:
    """The sizes of an ``at:``, its expressions evaluated."""
    return tuple([_known(v, params) if isinstance(v, tuple) else v(params) if callable(v) else v for v in example])


def sizes_to_params(file: SpecFile, i: Input, shape: Iterable[Any]) -> dict[str, Any]:
    """Params that stand alone in an input's pattern, set from a shape given for it."""
    sizes = list(shape)
    found: dict[str, Any] = {}
    if len(sizes) != len(i.pattern.axes):
        return found
    for k, name in i.pattern.alone:
        if name in file.params and isinstance(sizes[k], int) and name not in found:
            found[name] = sizes[k]
    return found


def checked_settings(file: SpecFile, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose names are params of the file; texts are read as YAML values.

    Raises
    ------
    SpecError
        For unknown names and unreadable values.
    """
    found: dict[str, Any] = {}
    faults = Collector()
    for name, value in settings.items():
        p = file.params.get(name)
        if p is None:
            near = did_you_mean(name, file.params)
            faults.error(
                "set/unknown",
                None,
                f"`{file.name}` has no param `{name}`",
                expected=", ".join(file.params) or "no params",
                hint=f"did you mean `{near}`?" if near else None,
            )
            continue
        found[name] = setting_value(file, name, value, faults)
    faults.raise_if_any()
    return found


def setting_value(file: SpecFile, name: str, value: Any, faults: Collector) -> Any:
    """One setting: a Python value, or a text as in the file (``[2, 2]``, ``{op: mhsa}``, ``2 * 96``)."""
    from archgraph.spec.values import tidy

    p = file.params[name]
    if isinstance(value, str):
        if p.kind == "text":
            return value
        tree = load_yaml(f"{name}: {value}" if value.strip() else f"{name}: null", f"--set {name}")
        return _from_tree(file, p, tree, name, faults)
    if isinstance(value, (YMap, dict)) and p.may_hold_op and "op" in value:
        tree = value if isinstance(value, YMap) else _written({name: value}, f"--set {name}")[name]
        holder = YMap("--set")
        holder[name] = tree
        holder.pos[name] = ((0, 0, 0, 0), (0, 0, 0, 0))
        return _from_tree(file, p, holder, name, faults)
    return tidy(value)


def _from_tree(file: SpecFile, p: Any, tree: Any, name: str, faults: Collector) -> Any:
    from archgraph.spec.values import tidy

    scratch = Block("", file, None, root=True)
    compiler = Compiler(scratch, faults)
    refs: set[str] = set()
    const, value = compiler.argument(p, tree[name], tree, name, refs)
    if const:
        return tidy(value)
    if faults:
        return None
    scope = {q.name: (q.value if q.default is None else None) for q in file.params.values()}
    try:
        return tidy(value(scope))
    except Exception as error:  # an expression over settings: any fault in it is the user's
        if not isinstance(error, (OpError, ArithmeticError, LookupError, TypeError, ValueError)) and not hasattr(
            error, "offset"
        ):
            raise
        faults.error("set/value", span_of(tree, name), str(error))
        return None


def variant_settings(file: SpecFile, variant: str | None) -> dict[str, Any]:
    """The settings of a variant.

    Raises
    ------
    SpecError
        If there is no such variant.
    """
    if variant is None:
        return {}
    values: Any = file.variants.get(variant)
    if values is None:
        near = did_you_mean(variant, file.variants)
        raise SpecError(
            Diagnostic(
                "variant/unknown",
                Span(file.path, 1, 1),
                f"`{file.name}` has no variant `{variant}`",
                expected=", ".join(file.variants) or "no variants",
                hint=f"did you mean `{near}`?" if near else None,
            )
        )
    faults = Collector()
    found: dict[str, Any] = {}
    if file.origin is not None and isinstance(values.get("base"), str):
        found.update(variant_settings(file.origin, values["base"]))
    for name in values:
        if name in ("base", "graph"):
            continue
        found[str(name)] = _from_tree(file, file.params[name], values, str(name), faults)
    faults.raise_if_any()
    return found


def load(name: str | os.PathLike[str], variant: str | None = None, **settings: Any) -> Spec:
    """Load a spec by path or shipped name.

    Parameters
    ----------
    name : str or path
        A YAML file, or the name of a shipped spec (``hornet``, ``eca-net``, ``eca-net/resnet``).
    variant : str, optional
        One of the file's variants; of a paper with several files, finds the file that has it.
    **settings
        Params to set on top.

    Raises
    ------
    SpecError
        With every fault found.
    """
    paths = resolve(os.fspath(name))
    files = [parse_file(p) for p in paths] if len(paths) > 1 else [parse_file(paths[0])]
    file = files[0]
    if len(files) > 1:
        if variant is not None:
            having = [f for f in files if variant in f.variants]
            if not having:
                known = [v for f in files for v in f.variants]
                near = did_you_mean(variant, known)
                raise SpecError(
                    Diagnostic(
                        "variant/unknown",
                        None,
                        f"no file of `{name}` has a variant `{variant}`",
                        expected=", ".join(known),
                        hint=f"did you mean `{near}`?" if near else None,
                    )
                )
            file = having[0]
        else:
            named = [f for f in files if os.path.splitext(os.path.basename(f.path))[0] == os.path.basename(str(name))]
            file = named[0] if named else files[0]
    values = variant_settings(file, variant)
    values.update(checked_settings(file, settings))
    return Spec(file, variant, values)


def loads(text: str, variant: str | None = None, file: str = "<text>", **settings: Any) -> Spec:
    """`load` from a text."""
    parsed = parse_text(text, file)
    values = variant_settings(parsed, variant)
    values.update(checked_settings(parsed, settings))
    return Spec(parsed, variant, values)


def block_graph(spec: Spec, name: str, inputs: Mapping[str, Any], args: Mapping[str, Any] | None = None) -> Graph:
    """A block of a spec elaborated alone.

    Parameters
    ----------
    spec : Spec
    name : str
        A block of the file or of a library it uses.
    inputs : mapping
        Input name → shape, `TensorType`, or a list of them.
    args : mapping, optional
        The block's params.

    Raises
    ------
    SpecError
        With every fault found.
    """
    from archgraph.ops.base import AttributeValueError
    from archgraph.spec.block_call import call_block
    from archgraph.spec.frame import FAULTS, Frame
    from archgraph.spec.values import UNKNOWN, Values

    block = spec.block(name)
    session = spec.session
    session.begin()
    session.memo.pop("scopes", None)
    session.memo["scopes"] = {spec.file: spec.params()}
    frame = Frame(session, block, {}, ())
    frame.span = block.span

    def tensor(i: Any, v: Any) -> TensorType:
        return v if isinstance(v, TensorType) else TensorType(i.dtype, tuple(v))

    values: dict[str, Any] = {}
    for i in block.inputs.values():
        if i.name not in inputs:
            continue
        v = inputs[i.name]
        if i.is_list:
            values[i.name] = Values(frame.add_input(f"{i.name}.{k}", tensor(i, x)) for k, x in enumerate(v))
        else:
            values[i.name] = frame.add_input(i.name, tensor(i, v))
    unknown = [k for k in inputs if k not in block.inputs]
    if unknown:
        raise SpecError(
            Diagnostic(
                "at/unknown", block.span, f"`{name}` has no input `{unknown[0]}`", expected=", ".join(block.inputs)
            )
        )
    given = dict(args or {})
    faults = Collector()
    for key, value in list(given.items()):
        if key in block.params and isinstance(value, (dict, YMap)) and "op" in value:
            holder = _written({key: value}, key)
            refs: set[str] = set()
            _, given[key] = Compiler(Block("", spec.file, None, root=True), faults).opref(
                holder[key], holder, key, refs
            )
    faults.raise_if_any()
    try:
        got = call_block(frame, name, block, given, values)
    except (*FAULTS, AttributeValueError) as error:
        frame.caught(error, block.span)
        got = UNKNOWN
    session.faults.raise_if_any()
    assert got is not UNKNOWN
    return frame.nodes[-1].callee


def _written(value: Mapping[str, Any], name: str) -> YMap:
    """Data as if it had been read from a file called ``name``."""
    from archgraph.spec.yaml_dump import dump_yaml

    tree: YMap = load_yaml(dump_yaml(value), name)
    return tree


Size = Num
