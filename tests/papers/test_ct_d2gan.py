"""CT-D2GAN: weights over time, what they depend on, the adversarial pair, the critics' fields of view."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import archgraph
from tests.papers.common import agrees, block, claims_hold, compiles, described, exports, lowers_loss, small, uneven

SMALL: dict[str, Any] = {"widths": [4, 8, 16], "num_heads": 2, "critic_widths": [4, 8], "image_size": 16}


def weights(frames: int = 4, **params: Any) -> nn.Module:
    """The weights of frames, for maps of two heads, 6 channels each."""
    given_ = {"kept": frames, "position_dim": 6, **params}
    return block("ct-d2gan", "frame_weights", {"maps": ["B", frames, 2, 6, "h", "w"]}, **given_)


def clip(seed: int, frames: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, frames, 3, 16, 16, generator=generator) * 2 - 1


def generator(**params: Any) -> nn.Module:
    return uneven(small("ct-d2gan", "generator", **SMALL, **params), 0.3)


@settings(max_examples=8)
@given(seed=st.integers(0, 99), positions=st.booleans())
def test_weights_sum_to_one_over_the_frames(seed: int, positions: bool) -> None:
    maps = torch.randn(2, 4, 2, 6, 3, 3, generator=torch.Generator().manual_seed(seed))
    found = weights(positions=positions)(maps)
    agrees(found.sum(1), torch.ones(2, 2))
    assert (found > 0).all()


@settings(max_examples=6)
@given(seed=st.integers(0, 99))
def test_equal_frames_weigh_equally_without_positions(seed: int) -> None:
    one = torch.randn(2, 1, 2, 6, 3, 3, generator=torch.Generator().manual_seed(seed)).expand(-1, 4, -1, -1, -1, -1)
    agrees(weights(positions=False)(one), torch.full((2, 4, 2), 0.25))
    assert not torch.allclose(weights()(one), torch.full((2, 4, 2), 0.25), atol=1e-3)


@settings(max_examples=6)
@given(seed=st.integers(0, 99), scale=st.floats(0.1, 10.0))
def test_weights_see_means_and_directions_only(seed: int, scale: float) -> None:
    maps = torch.randn(2, 4, 2, 6, 3, 3, generator=torch.Generator().manual_seed(seed))
    shuffled = maps.flatten(4)[..., torch.randperm(9)].unflatten(4, (3, 3))
    agrees(weights()(shuffled), weights()(maps))
    model = weights(positions=False)
    longer = maps.clone()
    longer[:, 1] *= scale
    agrees(model(longer), model(maps))


@settings(max_examples=4)
@given(order=st.permutations(range(3)), seed=st.integers(0, 99))
def test_without_positions_the_past_has_no_order(order: list[int], seed: int) -> None:
    x = clip(seed)
    moved = torch.cat([x[:, order], x[:, 3:]], 1)
    model = generator(positions=False)
    agrees(model(moved), model(x), 1e-4)


def test_one_frame_attends_to_itself() -> None:
    shapes = {"x": ["B", 8, 3, 3]}
    model = uneven(block("ct-d2gan", "temporal_attention", shapes, num_heads=2, frames=1, position_dim=4))
    x = torch.randn(2, 8, 3, 3)
    agrees(model(x), torch.cat([model.heads.proj(x), x], 1))


@settings(max_examples=4)
@given(seed=st.integers(0, 99))
def test_frames_are_in_range_and_the_past_counts(seed: int) -> None:
    model, x = generator(), clip(seed)
    pred = model(x)
    assert (pred.abs() <= 1).all()
    other = x.clone()
    other[:, 0] += 0.5
    assert not torch.allclose(model(other), pred)
    # without attention over time only the last frame does
    blind = generator(attention="last")
    agrees(blind(other), blind(x))


def test_a_video_critic_that_does_not_look_along_time_judges_frames() -> None:
    model = uneven(small("ct-d2gan", "video_critic", **SMALL, critic_frames=1), 0.3)
    x = torch.randn(1, 3, 5, 16, 16)
    hidden = model.convs(x)
    other = x.clone()
    other[:, :, 0] += 1.0
    agrees(model.convs(other)[:, :, 1:], hidden[:, :, 1:])
    assert not torch.allclose(model.convs(other)[:, :, 0], hidden[:, :, 0])


def test_cost_of_attention_is_linear_in_frames() -> None:
    spec = archgraph.load("ct-d2gan", "generator")
    work = [archgraph.report(spec, at={"clip": [1, t, 3, 64, 64]}).macs for t in (4, 8, 12)]
    assert work[2] - work[1] == work[1] - work[0]


def test_the_pair_trains_by_turns() -> None:
    """Ten turns: the critics tell frames better, and the generator comes nearer to the truth."""
    x, truth = clip(1), clip(2, 1)[:, 0] * 0.5
    maker = small("ct-d2gan", "generator", **SMALL).train()
    judges = {name: small("ct-d2gan", name, **SMALL).train() for name in ("image_critic", "video_critic")}
    of_maker = torch.optim.Adam(maker.parameters(), 1e-2)
    of_judges = torch.optim.Adam([p for m in judges.values() for p in m.parameters()], 1e-3)

    def scores(frame: Tensor) -> Tensor:
        whole = torch.cat([x, frame[:, None]], 1).transpose(1, 2)
        return judges["image_critic"](frame).mean() + judges["video_critic"](whole).mean()

    errors, gaps = [], []
    for _ in range(10):
        fake = maker(x)
        gap = nn.functional.softplus(scores(fake.detach())) + nn.functional.softplus(-scores(truth))
        of_judges.zero_grad()
        gap.backward()
        of_judges.step()
        error = nn.functional.mse_loss(fake, truth)
        of_maker.zero_grad()
        (error - 0.01 * scores(fake)).backward()
        of_maker.step()
        errors.append(error.item())
        gaps.append(gap.item())
    assert errors[-1] < errors[0]
    assert min(gaps[1:]) < gaps[0]


def test_training_lowers_the_loss() -> None:
    truth = clip(2, 1)[:, 0]
    lowers_loss(small("ct-d2gan", "generator", **SMALL), [clip(1)], lambda y: nn.functional.mse_loss(y, truth))


@pytest.mark.parametrize(("variant", "shape"), [
    ("generator", (2, 4, 3, 16, 16)), ("image_critic", (2, 3, 16, 16)), ("video_critic", (2, 3, 5, 16, 16)),
])  # fmt: skip
def test_exports_and_compiles(variant: str, shape: tuple[int, ...]) -> None:
    model = uneven(small("ct-d2gan", variant, **SMALL), 0.3)
    exports(model, [torch.rand(shape)])
    compiles(model, [torch.rand(shape)])


@pytest.mark.parametrize(
    "params", [{"memory": "past"}, {"learned_strength": True}, {"skip": "mean"}, {"attention": "mean"}]
)
def test_every_choice_builds_and_runs(params: dict[str, Any]) -> None:
    assert generator(**params)(clip(3)).shape == (2, 3, 16, 16)


def test_summary_and_claims() -> None:
    described("ct-d2gan")
    claims_hold("ct-d2gan")
