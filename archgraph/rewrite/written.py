"""A rewrite as a spec file: ``base`` and ``rewrite``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.rewrite.rule import Rule, shipped_rules
from archgraph.spec.libraries import specs_folder
from archgraph.spec.load import Spec
from archgraph.spec.model import OpRef
from archgraph.spec.yaml import dump_yaml, load_yaml

__all__ = ["derived_text", "write_derived"]


def derived_text(
    spec: Spec,
    rules: Sequence[tuple[Rule, str]],
    settings: Mapping[str, Any],
    where: Sequence[str] | None,
    expect: int | None,
    folder: str,
    name: str,
) -> str:
    """The text of a derived spec; paths are relative to ``folder``.

    Raises
    ------
    SpecError
        If the base or a rule can't be named from there.
    """
    tree: dict[str, Any] = {"archgraph": 1, "name": name, "base": _base(spec.file.path, folder)}
    params = {k: _plain(v) for k, v in spec.settings.items() if v is not None}
    if params:
        tree["params"] = params
    if params or expect is not None:  # chosen: other variants are another matter
        tree["variants"] = {}
    entries = []
    for rule, word in rules:
        entry: dict[str, Any] = {"rule": word if rule.name in shipped_rules() else _relative(rule.path, folder)}
        own = {k: _written(v) for k, v in settings.items() if k in rule.params}
        if own:
            entry["set"] = own
        if where:
            entry["where"] = list(where) if len(where) > 1 else where[0]
        if expect is not None:
            entry["expect"] = expect
        entries.append(entry)
    tree["rewrite"] = entries
    return dump_yaml(tree)


def write_derived(
    path: str,
    spec: Spec,
    word: str,
    rules: Sequence[tuple[Rule, str]],
    settings: Mapping[str, Any],
    where: Sequence[str] | None,
    expect: int | None,
) -> None:
    """Write a derived spec, whole or not at all; it is read back first."""
    from archgraph.spec.load import loads

    full = os.path.abspath(path)
    if not os.path.isdir(os.path.dirname(full)):
        hint = "make the folder first, or write elsewhere"
        raise SpecError(Diagnostic("file/access", None, f"there is no folder `{os.path.dirname(full)}`", hint=hint))
    name = os.path.basename(full).rsplit(".", 1)[0].replace("-", "_")
    text = derived_text(spec, rules, settings, where, expect, os.path.dirname(full), name)
    loads(text, file=full)
    temporary = f"{full}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w", encoding="utf-8") as f:
            f.write(text)
        os.replace(temporary, full)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _base(path: str, folder: str) -> str:
    root = os.fspath(specs_folder())
    full = os.path.abspath(path)
    if full.startswith(root + os.sep):
        return os.path.relpath(full, root).removesuffix(".yaml")
    return _relative(full, folder)


def _relative(path: str, folder: str) -> str:
    found = os.path.relpath(os.path.abspath(path), folder)
    if found.startswith(".."):
        raise SpecError(
            Diagnostic(
                "rewrite/place",
                None,
                f"`{path}` does not stand below the folder of the new file",
                hint="write the file beside it, or above",
            )
        )
    return found


def _written(value: Any) -> Any:
    """A setting given as text as the value that it is in a file."""
    if not isinstance(value, str):
        return value
    tree: Any = load_yaml(f"value: {value}" if value.strip() else "value: null", "--set")["value"]
    return _plain(tree)


def _plain(value: Any) -> Any:
    if isinstance(value, OpRef):
        name = getattr(value.target, "op_name", None) or value.target.name
        return {"op": name, **{k: _plain(v) for k, v in value.attrs}}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value
