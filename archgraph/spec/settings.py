"""Settings of a file's params: from variants, keywords and texts, and from sizes of inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from archgraph.ir.diagnostics import Collector, Diagnostic, Span, SpecError, did_you_mean
from archgraph.ops.base import OpError
from archgraph.spec.compile import Compiler
from archgraph.spec.model import Block, Input, SpecFile
from archgraph.spec.yaml import YMap, load_yaml, span_of


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
        tree = value if isinstance(value, YMap) else written({name: value}, f"--set {name}")[name]
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


def written(value: Mapping[str, Any], name: str) -> YMap:
    """Data as if it had been read from a file called ``name``."""
    from archgraph.spec.yaml_dump import dump_yaml

    tree: YMap = load_yaml(dump_yaml(value), name)
    return tree


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
