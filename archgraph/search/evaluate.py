"""From a candidate to the metrics that a study asks for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from archgraph.search.metrics import COSTS, MEASURED, user_metric

if TYPE_CHECKING:
    from torch import Tensor

    from archgraph.search.candidate import Candidate
    from archgraph.search.data import Dataset

__all__ = ["Epoch", "Outcome", "evaluate"]

Epoch = Callable[[int, Mapping[str, float]], None]


class Outcome:
    """What came out: metrics by name, seconds by step, epochs trained."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        self.more: dict[str, float] = {}

    def timed(self, step: str, start: float) -> None:
        self.seconds[step] = round(time.perf_counter() - start, 6)


def evaluate(candidate: Candidate, outcome: Outcome, epoch: Epoch, check: Callable[[str, float], None]) -> None:
    """Fill ``outcome``, the cheap metrics first.

    Parameters
    ----------
    epoch : function
        Called after each evaluation of a training; may raise to end it.
    check : function
        Called with each metric as it is known; may raise where a limit is broken.
    """
    study = candidate.study
    names = study.metrics
    groups: dict[str, list[str]] = {"cost": [], "proxy": [], "latency": [], "user": [], "trained": []}
    for name in names:
        kind = "cost" if name in COSTS else next((g for g, known in MEASURED.items() if name in known), "user")
        groups[kind].append(name)
    start = time.perf_counter()
    costs = candidate.costs
    outcome.timed("cost", start)

    def known(name: str, value: float) -> None:
        outcome.metrics[name] = value
        check(name, value)

    for name in groups["cost"]:
        known(name, costs[name])
    if any(groups[g] for g in ("latency", "proxy", "trained")):
        import torch

        torch.set_num_threads(study.train["threads"])
    if groups["latency"]:
        start = time.perf_counter()
        known("latency", _latency(candidate))
        outcome.timed("latency", start)
    if groups["proxy"]:
        start = time.perf_counter()
        for name in groups["proxy"]:
            known(name, _proxy(name, candidate))
        outcome.timed("proxies", start)
    if groups["user"]:
        start = time.perf_counter()
        for name in groups["user"]:
            function = user_metric(name)
            assert function is not None
            known(name, float(function(candidate)))
        outcome.timed("user", start)
    if groups["trained"]:
        from archgraph.search.objectives.training import train

        start = time.perf_counter()
        model = candidate.build(device="cpu")
        outcome.timed("build", start)
        start = time.perf_counter()
        found = train(model, _data(candidate), candidate.train, candidate.seed, epoch)
        outcome.timed("train", start)
        outcome.more = {name: found[name] for name in ("epochs",)}
        for name in MEASURED["trained"]:
            outcome.metrics[name] = found[name]
        for name in groups["trained"]:
            check(name, found[name])


def _data(candidate: Candidate) -> Dataset:
    from archgraph.search.data import load_data

    return load_data(candidate.data, candidate.study.folder)


def _latency(candidate: Candidate) -> float:
    import torch

    from archgraph.lower.fx import torch_dtype
    from archgraph.search.objectives.latency import latency

    settings = candidate.study.latency
    generator = torch.Generator().manual_seed(candidate.seed)
    inputs: dict[str, Tensor] = {}
    for name, t in candidate.graph.inputs:
        shape: Any = (settings["batch_size"], *t.shape[1:])
        dtype = torch_dtype(t.dtype)
        floating = dtype.is_floating_point
        inputs[name] = torch.randn(shape, generator=generator) if floating else torch.zeros(shape, dtype=dtype)
    return latency(candidate.build(), inputs, settings)


def _proxy(name: str, candidate: Candidate) -> float:
    import torch

    from archgraph.search.objectives import proxies

    settings = candidate.study.proxies
    data = _data(candidate)
    generator = torch.Generator().manual_seed(candidate.seed)
    size = min(settings["batch_size"], len(data.x))

    def batch() -> tuple[Tensor, Tensor]:
        rows = torch.randperm(len(data.x), generator=generator)[:size]
        return data.x[rows], data.y[rows]

    torch.manual_seed(candidate.seed)
    model = candidate.build()
    x, y = batch()
    if name == "grad_norm":
        return proxies.grad_norm(model, x, y)
    if name == "snip":
        return proxies.snip(model, x, y)
    if name == "synflow":
        return proxies.synflow(model, x)
    if name == "naswot":
        return proxies.naswot(model, x)
    if name == "jacob_cov":
        return proxies.jacob_cov(model, x)
    if name == "zen":
        return proxies.zen(model, x, generator, settings["repeats"])
    return proxies.zico(model, [(x, y), *(batch() for _ in range(settings["repeats"] - 1))])
