"""Titans: the memory against gradient steps written out, its limits, state over segments, causality, training."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import archgraph
from tests.papers.common import agrees, block, claims_hold, compiles, described, exports, lowers_loss, small, uneven

LIBRARY = "blocks/neural_memory"
MATRIX = {"op": "memory_mlp", "depth": 1}
MLP = {"op": "memory_mlp", "depth": 2}


def memory(**params: Any) -> nn.Module:
    """A memory of width 6 as a block, its weights drawn, in double precision."""
    model = block(LIBRARY, "neural_memory", {"x": ["B", "N", 6]}, **{"norm": False, "network": MATRIX, **params})
    return uneven(model, 0.4).double()


def first(found: Any) -> Tensor:
    """What the memory says: the first of the block's outputs."""
    assert isinstance(found, tuple)
    return found[0]


def rule(model: nn.Module, name: str, bias: float) -> None:
    """Set a learned rate to the same everywhere."""
    linear = model.get_submodule(f"write.{name}")
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.fill_(bias)


def written_out(model: nn.Module, x: Tensor, chunk: int, every: int, loss: str, momentum: bool) -> tuple[Tensor, Any]:
    """The memory of one head with two matrices or one, by gradient steps of autograd: its answers, its last weights."""
    weights = [p[0].detach() for name, p in model.named_parameters() if name.startswith("initial.")]
    project = {name: model.get_parameter(f"{name}.proj.weight") for name in ("write.keys", "write.values")}
    said = []
    queries = x @ model.get_parameter("read.queries.proj.weight").T

    def network(q: Tensor, w: list[Tensor]) -> Tensor:
        y = q @ w[0]
        return nn.functional.gelu(y) @ w[1] if len(w) > 1 else y

    def rate(name: str, at: Tensor) -> Tensor:
        return torch.sigmoid(model.get_submodule(f"write.{name}")(at)).squeeze(-1)

    last = []
    for sample, q in zip(x, queries, strict=True):
        now, base = list(weights), list(weights)
        moving = [torch.zeros_like(w) for w in weights]
        states = [now]
        for c in range(len(sample) // chunk):
            part = sample[c * chunk : (c + 1) * chunk]
            k, v = part @ project["write.keys"].T, part @ project["write.values"].T
            at = [w.detach().requires_grad_() for w in base]
            errors = (network(k, at) - v) ** 2
            each = errors.mean(-1) if loss == "mean" else errors.sum(-1)
            grads = torch.autograd.grad((rate("step", part) * each).sum(), at)
            pooled = part.mean(0)
            keep = rate("inertia", pooled) if momentum else 0
            moving = [keep * m - g for m, g in zip(moving, grads, strict=True)]
            now = [(1 - rate("decay", pooled)) * w + m for w, m in zip(now, moving, strict=True)]
            states.append(now)
            if every and (c + 1) * chunk % every == 0:
                base = now
        said.append(torch.stack([network(q[j], states[(j + 1) // chunk]) for j in range(len(sample))]))
        last.append(now)
    return torch.stack(said), [torch.stack(column) for column in zip(*last, strict=True)]


@pytest.mark.parametrize(
    ("chunk", "often", "loss", "momentum", "deep"),
    [(1, 1, "sum", True, False), (2, 1, "sum", True, True), (2, 2, "mean", True, True), (3, 0, "mean", False, True)],
)
def test_the_memory_takes_gradient_steps(chunk: int, often: int, loss: str, momentum: bool, deep: bool) -> None:
    network = MLP if deep else MATRIX
    model = memory(chunk_size=chunk, refresh=often * chunk, loss=loss, momentum_order=int(momentum), network=network)

    @settings(max_examples=8)
    @given(length=st.integers(1, 10), seed=st.integers(0, 99))
    def for_any_length(length: int, seed: int) -> None:
        x = torch.randn(2, length, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        said, last = written_out(model, x, chunk, often * chunk, loss, momentum)
        found = model(x)
        agrees(found[0], said, 1e-9)
        weights = [w[:, 0] for w in found[1 + len(last) : 1 + 2 * len(last)]]
        agrees(weights, last, 1e-9)

    for_any_length()


@settings(max_examples=3)
@given(chunk=st.integers(1, 4), often=st.integers(0, 1))
def test_without_momentum_is_momentum_of_nought(chunk: int, often: int) -> None:
    plain = memory(chunk_size=chunk, refresh=often * chunk, momentum_order=0)
    model = memory(chunk_size=chunk, refresh=often * chunk)
    missing, extra = model.load_state_dict(plain.state_dict(), strict=False)
    assert {key.split(".")[1] for key in missing} == {"inertia"}
    assert not extra
    rule(model, "inertia", -80.0)
    x = torch.randn(2, 9, 6, dtype=torch.float64)
    agrees(first(model(x)), first(plain(x)), 1e-9)


@settings(max_examples=3)
@given(chunk=st.integers(1, 3), seed=st.integers(0, 9))
def test_a_memory_that_neither_learns_nor_forgets_is_its_network(chunk: int, seed: int) -> None:
    model = memory(chunk_size=chunk, network=MLP)
    rule(model, "step", -80.0)
    rule(model, "decay", -80.0)
    x = torch.randn(2, 8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    w = [p[0] for name, p in model.named_parameters() if name.startswith("initial.")]
    q = x @ model.get_parameter("read.queries.proj.weight").T
    agrees(first(model(x)), nn.functional.gelu(q @ w[0]) @ w[1], 1e-9)


def test_one_that_forgets_all_holds_its_last_surprise() -> None:
    model = memory(chunk_size=2)
    rule(model, "decay", 80.0)
    rule(model, "inertia", -80.0)
    x = torch.randn(1, 8, 6, dtype=torch.float64)
    other = torch.cat([torch.randn(1, 6, 6, dtype=torch.float64), x[:, 6:]], 1)
    # the last token is answered by weights made of the last chunk alone
    agrees(first(model(x))[:, -1], first(model(other))[:, -1], 1e-9)


def test_one_chunk_is_gradient_descent_with_weight_decay() -> None:
    model = memory(chunk_size=4)
    rule(model, "decay", -2.0)
    rule(model, "step", 0.5)
    x = torch.randn(1, 4, 6, dtype=torch.float64)
    w = model.get_parameter("initial.weights.0")[0]
    k = x[0] @ model.get_parameter("write.keys.proj.weight").T
    v = x[0] @ model.get_parameter("write.values.proj.weight").T
    theta, alpha = torch.sigmoid(torch.tensor([0.5, -2.0], dtype=torch.float64))
    # a matrix memory has the gradient (2 / D) theta kᵀ (k W - v)
    after = (1 - alpha) * w - theta * 2 / 6 * k.T @ (k @ w - v)
    q = x[0, -1] @ model.get_parameter("read.queries.proj.weight").T
    agrees(first(model(x))[0, -1], q @ after, 1e-9)


@pytest.mark.parametrize(("chunk", "often"), [(1, 1), (3, 0), (4, 1)])
def test_no_answer_depends_on_later_tokens(chunk: int, often: int) -> None:
    model = memory(chunk_size=chunk, refresh=often * chunk, network=MLP)

    @settings(max_examples=8)
    @given(changed=st.integers(1, 9))
    def for_any_place(changed: int) -> None:
        x = torch.randn(2, 10, 6, dtype=torch.float64)
        other = x.clone()
        other[:, changed:] += 1.0
        one, two = first(model(x)), first(model(other))
        agrees(one[:, :changed], two[:, :changed], 1e-12)
        assert not torch.allclose(one[:, changed:], two[:, changed:])

    for_any_place()


STATEFUL = """
archgraph: 1
name: parts
uses: [blocks/neural_memory]
params: {network: {op: memory_mlp, depth: 2}, chunk: 2, refresh: 2}
inputs:
  x: [B, N, 6]
  weights: {each: {r: [6, 12], c: [12, 6]}, list: [B, 1, r, c]}
  base: {each: {r: [6, 12], c: [12, 6]}, list: [B, 1, r, c]}
  momentum: {each: {r: [6, 12], c: [12, 6]}, list: [B, 1, 1, r, c]}
graph:
  memory:
    op: neural_memory
    in: {x: x, weights: weights, base: base, momentum: momentum}
    network: $network
    chunk_size: chunk
    refresh: refresh
    norm: false
    stateful: true
outputs: {y: memory.y, weights: memory.weights, base: memory.base, momentum: memory.momentum}
"""


def in_parts(model: nn.Module, x: Tensor, cuts: list[int]) -> Tensor:
    """A sequence read part by part, the state carried."""
    start = [torch.full((len(x), 1, *s), 0.1, dtype=x.dtype) for s in ((6, 12), (12, 6))]
    still = [torch.zeros(len(x), 1, 1, *s, dtype=x.dtype) for s in ((6, 12), (12, 6))]
    state: list[Any] = [start, start, still]
    said = []
    for part in x.split(cuts, 1):
        found = model(part, *state)
        said.append(found["y"])
        state = [found[name]["weights"] for name in ("weights", "base", "momentum")]
    return torch.cat(said, 1)


@settings(max_examples=5)
@given(cut=st.integers(1, 3), often=st.integers(0, 1))
def test_state_is_carried_across_segments(cut: int, often: int) -> None:
    model = uneven(archgraph.build(archgraph.loads(STATEFUL, refresh=2 * often)), 0.4).double()
    x = torch.randn(2, 8, 6, dtype=torch.float64)
    agrees(in_parts(model, x, [2 * cut, 8 - 2 * cut]), in_parts(model, x, [8]), 1e-9)


def test_training_reaches_through_carried_state() -> None:
    model = uneven(archgraph.build(archgraph.loads(STATEFUL)), 0.3)
    x = torch.randn(2, 8, 6, generator=torch.Generator().manual_seed(3))

    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return in_parts(self.model, x, [4, 4])[:, 4:]

    lowers_loss(Parts(), [x], lambda y: nn.functional.mse_loss(y, x[:, :4]), lr=3e-3)


def test_orthogonal_steps_have_singular_values_near_one() -> None:
    for shape in ((5, 5), (4, 9), (9, 4)):
        step = block(LIBRARY, "newton_schulz", {"x": shape})
        values = torch.linalg.svdvals(step(torch.randn(shape, generator=torch.Generator().manual_seed(1))))
        assert values.max() < 1.4
        assert values.median() > 0.6


@settings(max_examples=6)
@given(order=st.permutations(range(4)), sliding=st.booleans())
def test_persistent_keys_have_no_order(order: list[int], sliding: bool) -> None:
    params = {"num_heads": 2, "head_dim": 4, "window": 3, "persistent": 4, "sliding": sliding}
    model = uneven(block("titans", "segmented_attention", {"x": ["B", 7, 6]}, **params))
    x = torch.randn(2, 7, 6)
    before = model(x)[0]
    with torch.no_grad():
        model.persistent_memory.copy_(model.persistent_memory[:, :, order].clone())
    agrees(model(x)[0], before)


def test_streams_keep_their_sum() -> None:
    model = uneven(block("blocks/hyper_connections", "hyper_connection", {"x": ["B", 3, "N", 6]}), 0.5)
    x = torch.randn(2, 3, 5, 6)
    _, rest, shares = model(x)
    agrees(rest.sum(1), x.sum(1), 1e-3)
    assert ((shares > 0) & (shares < 2)).all()


SMALL: dict[str, Any] = {"vocab": 11, "dim": 12, "depth": 2, "num_heads": 2, "head_dim": 4, "segment_len": 4}
SMALL |= {"persistent": 2, "ff_mult": 2}
LM = {**SMALL, "chunk_size": 2}
MAC = {**SMALL, "longterm": 1, "streams": 2, "memory_segment_len": 2}


def model_of(kind: str, depth: int = 2) -> nn.Module:
    if kind == "re-implementation":
        return small("titans", "readme-mac", **MAC, weight_residual=True, views=True)
    return small("titans", f"paper-{kind}", **{**LM, "depth": depth})


KINDS = ("mac", "mag", "mal", "lmm", "re-implementation")


@pytest.mark.parametrize("kind", KINDS)
def test_no_logit_sees_later_tokens(kind: str) -> None:
    model = uneven(model_of(kind), 0.2)
    ids = torch.randint(0, 11, (2, 10))
    other = ids.clone()
    other[:, 6:] = (other[:, 6:] + 1) % 11
    one, two = model(ids), model(other)
    agrees(one[:, :6], two[:, :6], 1e-5)
    assert not torch.allclose(one[:, 6:], two[:, 6:], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_loss(kind: str) -> None:
    ids = torch.randint(0, 11, (2, 10), generator=torch.Generator().manual_seed(2))

    def loss(logits: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    lowers_loss(model_of(kind), [ids[:, :-1]], loss, lr=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_exports_and_compiles(kind: str) -> None:
    model = uneven(model_of(kind, 1), 0.2)
    ids = torch.randint(0, 11, (2, 4))
    exports(model, [ids])
    compiles(model, [ids])


def test_cost_is_linear_in_the_length() -> None:
    spec = archgraph.load("titans", "paper-mag", **LM)
    work = [archgraph.report(spec, at={"ids": [1, n]}).macs for n in (4096, 8192, 16384)]
    # the prefix adds two tokens to each layer's memory: the law is affine
    assert work[2] - work[1] == 2 * (work[1] - work[0])


def test_summary_and_claims() -> None:
    described("titans")
    claims_hold("titans")
