"""Rewrite rules as data: finding patterns in typed graphs, replacing them, and where the weights go.

The package is callable: importing any part of it binds it to ``archgraph.rewrite``, the name of the public function.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from archgraph.rewrite.api import rewrite

        return rewrite(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
