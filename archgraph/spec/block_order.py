"""When a block's params and locals can be evaluated."""

from __future__ import annotations

from archgraph.spec.model import Block, Param


class Order:
    """When a block's params and locals can be evaluated: before or after its inputs bind dims.

    ``late`` params wait for dims; ``file_names`` are what the late ones read of the file's own params, ``reads`` what
    any default may.
    """

    __slots__ = ("early_let", "file_names", "late", "late_let", "reads")

    def __init__(self, block: Block) -> None:
        own = set(block.params) | {x.name for x in block.let}
        dims: set[str] = set()
        for i in block.inputs.values():
            dims |= i.pattern.names - {n for n, _ in i.each}
            if i.is_list:  # `len` of it
                dims.add(i.name)
        dims -= own
        waiting = set(dims)
        self.late: dict[str, Param] = {}
        for p in block.params.values():
            if p.names - {p.name} & waiting or (p.name in p.names and p.name in dims):
                waiting.add(p.name)
                self.late[p.name] = p
        self.early_let = []
        self.late_let = []
        for x in block.let:
            names = x.expr.names if x.expr is not None else frozenset()
            if names & waiting:
                waiting.add(x.name)
                self.late_let.append(x)
            else:
                self.early_let.append(x)
        outside: set[str] = set()
        for p in self.late.values():
            outside |= p.names - own - dims
            if p.name in p.names:
                outside.add(p.name)
        self.file_names = tuple(sorted(outside))
        known = {*block.file.params, *(x.name for x in block.file.let)}
        self.reads = tuple(sorted({n for p in block.params.values() for n in p.names} & known))


def order_of(block: Block) -> Order:
    """`Order`, once per block."""
    if block.order is None:
        block.order = Order(block)
    return block.order
