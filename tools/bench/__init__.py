"""Benchmarks against peers: ``python -m tools.bench [NAME…]``.

Every module of this package with a function ``run(quick: bool) -> Section`` is a benchmark of its own name. Ratios are
what counts: competitors take turns in shuffled order within one process (or one process each, in turn, where they
don't bear each other), so that whatever else the machine does falls on all alike.
"""
