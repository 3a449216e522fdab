"""Writing a model's weights."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import nn

from archgraph.lower.weights import state_tables


def save_state(model: nn.Module, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> int:
    """Write a model's state_dict as safetensors; a tensor with several names is written under the first.

    The file appears complete or not at all: it is written beside its place and then renamed.

    Parameters
    ----------
    model : nn.Module
    path : path
    metadata : mapping, optional
        Texts to keep in the file's header.

    Returns
    -------
    int
        How many tensors were written.

    Raises
    ------
    OSError
        If the file can't be written.
    """
    aliases = state_tables(model).aliases
    tensors = {k: t.detach().cpu().contiguous() for k, t in model.state_dict().items() if k not in aliases}
    data = save(tensors, {"format": "pt", **(metadata or {})})
    target = Path(path)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _mode())
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
    return len(tensors)


def _mode() -> int:
    """The permissions that the process gives to new files; those of temporary ones are tighter."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
