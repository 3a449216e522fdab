"""Reports on architectures: costs by block, claims beside our numbers, drawings. Nothing here imports torch.

The package is callable: importing any part of it binds it to ``archgraph.report``, the name of the public function.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from archgraph.report.report import report

        return report(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
