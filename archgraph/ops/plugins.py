"""Ops from outside the package: modules that a user names, imported so that their ops are known.

A spec may say which it needs (``plugins: [my_ops]``), but never causes an import: it is read only where the user has
imported them.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from types import ModuleType

from archgraph.ir.diagnostics import Diagnostic, Span, SpecError


def use(plugin: str) -> ModuleType:
    """Import a module by its dotted name, or a Python file by its path; its ops are known from then on.

    Raises
    ------
    SpecError
        If there is no such module or file, or it fails while it is imported.
    """
    try:
        if plugin.endswith(".py") or os.sep in plugin:
            return _file(plugin)
        return importlib.import_module(plugin)
    except SpecError:
        raise
    except Exception as error:  # whatever the user's own code raises
        raise SpecError(_failed(plugin, error)) from error


def _file(path: str) -> ModuleType:
    name = os.path.splitext(os.path.basename(path))[0]
    full = os.path.abspath(path)
    known = sys.modules.get(name)
    if known is not None:
        if os.path.abspath(getattr(known, "__file__", None) or "") == full:
            return known
        raise SpecError(
            Diagnostic("plugin/name", None, f"a module `{name}` is imported already", hint=f"rename {path}")
        )
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None or not os.path.isfile(full):
        raise SpecError(Diagnostic("plugin/unknown", None, f"there is no plugin {path}"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _failed(plugin: str, error: Exception) -> Diagnostic:
    if isinstance(error, ModuleNotFoundError) and error.name is not None and plugin.startswith(error.name):
        return Diagnostic(
            "plugin/unknown",
            None,
            f"there is no module `{plugin}`",
            hint=f"a file is named by its path: --plugin ./{plugin}.py",
        )
    at = None
    if isinstance(error, SyntaxError) and error.filename is not None and error.lineno is not None:
        at = Span(error.filename, error.lineno, error.offset or 1)
        return Diagnostic("plugin/failed", at, f"the plugin `{plugin}` is no Python: {error.msg}")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
    inside = [f for f in frames if f.filename != __file__ and f.lineno is not None]
    if inside:
        at = Span(inside[-1].filename, inside[-1].lineno or 1, 1)
    return Diagnostic("plugin/failed", at, f"the plugin `{plugin}` fails: {type(error).__name__}: {error}")


def missing(names: tuple[str, ...]) -> list[str]:
    """Those of a spec's plugins that have not been imported."""
    return [name for name in names if name.removesuffix(".py") not in sys.modules]
