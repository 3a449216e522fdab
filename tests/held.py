"""How many bytes torch really holds while a model runs, and how many it keeps for a backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Held(TorchDispatchMode):
    """Bytes of the storages that are alive at once, beside given ones: ``peak`` after any kernel.

    Storages are counted, not tensors: views and writes in place add nothing, and a part keeps the whole alive. Each is
    one allocation of exactly its bytes. The allocator's own record says the same (a test compares them) where kernels
    take nothing for themselves; but what oneDNN allocates and frees within one call for weights in another order, or
    cuDNN for its workspace, belongs to a device and a version, not to the model, and is not seen here.
    """

    def __init__(self, *others: Tensor) -> None:
        super().__init__()
        self.others = {x.untyped_storage()._cdata for x in others}
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor):
                storage = x.untyped_storage()
                if storage._cdata not in self.others:
                    self.alive.setdefault(storage._cdata, (StorageWeakRef(storage), storage.nbytes()))
        self.alive = {key: pair for key, pair in self.alive.items() if not pair[0].expired()}
        self.peak = max(self.peak, sum(n for _, n in self.alive.values()))
        return result


def held(model: nn.Module, inputs: Sequence[Any]) -> int:
    """The peak of one evaluation, beside weights and inputs."""
    given = [x for x in tree_leaves(list(inputs)) if isinstance(x, Tensor)]
    with torch.no_grad(), Held(*given, *model.parameters(), *model.buffers()) as mode:
        model(*inputs)
    return mode.peak


def allocated(model: nn.Module, inputs: Sequence[Any]) -> int:
    """The same by the CPU allocator's own record, workspaces of its kernels included."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.no_grad(), torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        kept = model(*inputs)
    del kept
    recorder = profile.profiler
    assert recorder is not None
    assert recorder.kineto_results is not None
    now = most = 0
    for event in recorder.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def kept(model: nn.Module, inputs: Sequence[Any]) -> int:
    """Bytes of the storages that autograd keeps in one forward pass in training, beside weights and inputs."""
    given: Iterable[Tensor] = [x for x in tree_leaves(list(inputs)) if isinstance(x, Tensor)]
    others = {x.untyped_storage()._cdata for x in (*given, *model.parameters(), *model.buffers())}
    found: dict[int, Any] = {}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in others:
            found[storage._cdata] = storage
        return x

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        result = model(*inputs)
    model.eval()
    del result
    return sum(storage.nbytes() for storage in found.values())
