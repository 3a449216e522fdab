"""What a simulated 4f system has to obey: identities, error laws, noise, tiling, gradients."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from archgraph.optical.device import load_device
from archgraph.optical.fields import Pads, convolve, fast_length, pair_fields
from archgraph.optical.layers import OpticalConv2d, OpticalConvTranspose2d, OpticalLinear, optical_conv2d, set_device
from archgraph.optical.tiling import matmul_by_convolution, pitch, tile, tiled_convolve, untile

few = settings(max_examples=25)
sides = st.integers(1, 6)


def padded(padding: str, kh: int, kw: int) -> Pads:
    """Zeros before and after, as torch's words mean them."""
    if padding == "valid":
        return ((0, 0), (0, 0))
    if padding == "full":
        return ((kh - 1, kh - 1), (kw - 1, kw - 1))
    return (((kh - 1) // 2, kh - 1 - (kh - 1) // 2), ((kw - 1) // 2, kw - 1 - (kw - 1) // 2))


@st.composite
def layers(draw: st.DrawFn) -> tuple[Tensor, Tensor, Pads, tuple[int, int], int]:
    """Signed inputs and kernels, padding, dilation and groups that fit each other."""
    kh, kw, dilation = draw(sides), draw(sides), draw(st.sampled_from([(1, 1), (2, 1)]))
    groups = draw(st.sampled_from([1, 1, 2]))
    high = (kh - 1) * dilation[0] + draw(sides)
    wide = kw + draw(sides)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    x = torch.randn(draw(st.integers(1, 3)), groups * draw(st.integers(1, 3)), high, wide, generator=generator)
    w = torch.randn(groups * draw(st.integers(1, 3)), x.shape[1] // groups, kh, kw, generator=generator)
    return x, w, padded(draw(st.sampled_from(["valid", "same", "full"])), kh, kw), dilation, groups


def torchs(x: Tensor, w: Tensor, pads: Pads, dilation: tuple[int, int] = (1, 1), groups: int = 1) -> Tensor:
    return F.conv2d(F.pad(x, (*pads[1], *pads[0])), w, dilation=dilation, groups=groups)


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    assert ours.shape == theirs.shape
    error, scale = float((ours - theirs).detach().abs().max()), float(theirs.detach().abs().max())
    assert error <= tolerance * max(1.0, scale)


# 1 ------------------------------------------------------------------------------------------------------------------


@few
@given(layers())
def test_the_ideal_field_is_torchs_convolution(case: tuple[Tensor, Tensor, Pads, tuple[int, int], int]) -> None:
    x, w, pads, dilation, groups = case
    theirs = torchs(*case)
    close(convolve(x, w, pads, (1, 1), dilation, groups), theirs, 1e-5)
    close(optical_conv2d(x, w, None, load_device("ideal"), pads, (1, 1), dilation, groups), theirs, 1e-5)
    for method in ("fft", "direct"):
        pairs = torch.cat(list(pair_fields(x, w, pads, dilation, groups, method=method)), 1)
        close(pairs.sum(2), theirs, 1e-5)
        together = torch.cat(list(pair_fields(x, w, pads, dilation, groups, coherent=True, method=method)), 1)
        close(together[:, :, 0], theirs, 1e-5)


def test_in_double_precision_to_the_last_digits() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(2, 3, 17, 13, dtype=torch.float64), torch.randn(5, 3, 4, 7, dtype=torch.float64)
    assert (convolve(x, w) - F.conv2d(x, w)).abs().max() < 1e-12


def test_a_stride_leaves_out_what_was_computed() -> None:
    x, w = torch.randn(1, 2, 20, 20), torch.randn(3, 2, 11, 11)
    close(convolve(x, w, stride=(3, 2)), F.conv2d(x, w, stride=(3, 2)), 1e-5)


@given(st.integers(1, 5000))
def test_lengths_of_transforms_are_smooth_and_next(n: int) -> None:
    found = fast_length(n)
    rest = found
    for p in (2, 3, 5):
        while rest % p == 0:
            rest //= p
    assert rest == 1
    assert n <= found <= 2 * n


# 2 ------------------------------------------------------------------------------------------------------------------


@few
@given(layers())
def test_passes_add_up_to_the_signed_convolution(case: tuple[Tensor, Tensor, Pads, tuple[int, int], int]) -> None:
    x, w, pads, dilation, groups = case
    theirs = torchs(*case)
    # A full scale of its own takes the device off the shortcut, and is high enough not to saturate.
    for signs in ("split", "offset"):
        device = load_device(f"ideal:full_scale=1000,signed_input={signs}")
        assert not device.is_exact
        close(optical_conv2d(x, w, None, device, pads, (1, 1), dilation, groups), theirs, 2e-5)
    one_pass = load_device("ideal:full_scale=1000,signed_input=clip")
    close(optical_conv2d(x.abs(), w, None, one_pass, pads, (1, 1), dilation, groups), torchs(x.abs(), *case[1:]), 1e-5)


def test_an_offset_is_taken_off_again() -> None:
    x, w, c = torch.randn(1, 2, 9, 9, dtype=torch.float64), torch.randn(3, 2, 4, 4, dtype=torch.float64), 3.5
    shifted = F.conv2d(x + c, w) - c * w.sum((1, 2, 3))[:, None, None]
    assert (shifted - F.conv2d(x, w)).abs().max() < 1e-12


def test_without_pseudo_negativity_the_sign_is_lost() -> None:
    x, w = torch.rand(1, 1, 8, 8), torch.randn(2, 1, 3, 3)
    device = load_device("ideal:pseudo_negative=false,signed_input=clip")
    close(optical_conv2d(x, w, None, device), F.conv2d(x, w).abs(), 1e-5)


# 3 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("detector", ["intensity", "amplitude"])
@pytest.mark.parametrize("channels", ["electronic", "coherent"])
def test_the_root_of_the_square_is_the_field(detector: str, channels: str) -> None:
    x, w = torch.rand(2, 3, 10, 12), torch.rand(4, 3, 3, 5)
    device = load_device(f"ideal:full_scale=1000,detector={detector},channel_sum={channels}")
    close(optical_conv2d(x, w, None, device), F.conv2d(x, w), 1e-6)


# 4 ------------------------------------------------------------------------------------------------------------------


def error(device: str, seed: int, positive: bool = False) -> float:
    """Relative RMS error of a layer on a device."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(4, 3, 16, 16, generator=generator)
    w = torch.randn(5, 3, 5, 5, generator=generator)
    w = w.abs() if positive else w
    theirs = F.conv2d(x, w)
    torch.manual_seed(seed)
    ours = optical_conv2d(x, w, None, load_device(f"{device},signed_input=clip"))
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize(
    ("knob", "bits"),
    [
        ("input_bits={}", (4, 6, 8, 10)),
        ("camera_bits={},detector=amplitude", (4, 6, 8, 10)),
        ("camera_bits={},detector=intensity", (6, 8, 10)),
        ("kernel_bits={},kernel_plane=spatial", (4, 6, 8, 10)),
        ("kernel_bits={},kernel_plane=fourier", (4, 6, 8, 10)),
    ],
)
def test_two_more_bits_leave_a_quarter_of_the_error(knob: str, bits: tuple[int, ...]) -> None:
    means = [sum(error(f"ideal:{knob.format(b)}", seed) for seed in range(8)) / 8 for b in bits]
    for coarse, fine in itertools.pairwise(means):
        assert 0.15 <= fine / coarse <= 0.4, means


def test_the_square_law_costs_about_a_bit() -> None:
    square = sum(error("ideal:camera_bits=8,detector=intensity", s) for s in range(8))
    straight = sum(error("ideal:camera_bits=8,detector=amplitude", s) for s in range(8))
    assert 1.2 < square / straight < 3


# 5 ------------------------------------------------------------------------------------------------------------------


def test_shot_noise_falls_with_the_root_of_the_electrons() -> None:
    wells = [1e2, 1e3, 1e4, 1e5, 1e6]
    errors = [
        sum(error(f"ideal:full_well={n},read_noise=0", seed, positive=True) for seed in range(3)) / 3 for n in wells
    ]
    x = torch.tensor([math.log(n) for n in wells[1:]])
    y = torch.tensor([math.log(e) for e in errors[1:]])
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    assert abs(slope + 0.5) < 0.05, errors


def test_shot_noise_is_unbiased_in_electrons_and_of_known_bias_in_amplitude() -> None:
    from archgraph.optical.detection import detect

    torch.manual_seed(0)
    full, a, well = 2.0, 1.2, 1000.0
    device = load_device(f"ideal:full_well={well},read_noise=0")
    seen = detect(torch.full((400_000,), a), device, full)
    electrons = (seen / full) ** 2 * well
    expected = (a / full) ** 2 * well
    deviation = math.sqrt(expected / 400_000)
    assert abs(float(electrons.double().mean()) - expected) < 4 * deviation
    bias = float(seen.double().mean()) - a
    assert bias == pytest.approx(-(full**2) / (8 * well * a), rel=0.4)
    assert float(seen.std()) == pytest.approx(full / (2 * math.sqrt(well)), rel=0.02)


def test_read_and_dark_noise_add_in_quadrature() -> None:
    from archgraph.optical.detection import detect

    torch.manual_seed(0)
    full, a, well = 1.0, 0.8, 10_000.0
    device = load_device(f"ideal:full_well={well},shot_noise=false,read_noise=20,dark_current=900,exposure=1")
    seen = detect(torch.full((200_000,), a), device, full)
    electrons = seen.double() ** 2 * well
    assert float(electrons.std()) == pytest.approx(math.sqrt(20**2 + 900), rel=0.02)
    assert float(electrons.mean()) == pytest.approx(a**2 * well + 900, rel=0.01)


def test_a_full_pixel_saturates() -> None:
    from archgraph.optical.detection import detect

    device = load_device("ideal:full_scale=1")
    assert detect(torch.tensor([0.5, 3.0]), device, 1.0).tolist() == [0.5, 1.0]


# 6 ------------------------------------------------------------------------------------------------------------------


@few
@given(
    st.integers(1, 9),
    st.integers(1, 4),
    sides,
    sides,
    sides,
    sides,
    st.sampled_from(["valid", "same", "full"]),
    st.data(),
)
def test_tiles_do_not_meet(
    count: int, columns: int, h: int, w: int, kh: int, kw: int, padding: str, data: st.DataObject
) -> None:
    h, w = h + kh, w + kw
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    planes = torch.randn(count, h, w, generator=generator, dtype=torch.float64)
    kernel = torch.randn(kh, kw, generator=generator, dtype=torch.float64)
    apart = torchs(planes[:, None], kernel[None, None], padded(padding, kh, kw))[:, 0]
    assert (tiled_convolve(planes, kernel, padding, columns) - apart).abs().max() < 1e-11


def test_tiles_without_a_gap_run_into_each_other() -> None:
    planes, kernel = torch.rand(4, 6, 6) + 0.1, torch.rand(5, 5) + 0.1
    apart = torchs(planes[:, None], kernel[None, None], padded("same", 5, 5))[:, 0]
    assert pitch(6, 5, "same") == 8
    wrong = tiled_convolve(planes, kernel, "same", 2, (7, 7))
    assert (wrong - apart).abs().max() > 0.1


def test_tiles_come_back_as_they_went() -> None:
    planes = torch.randn(5, 3, 4)
    assert torch.equal(untile(tile(planes, 2, (5, 4)), 5, 2, (5, 4), (3, 4)), planes)
    with pytest.raises(ValueError, match="valid, same, full"):
        pitch(3, 3, "wrap")


@few
@given(sides, sides, sides)
def test_a_product_of_matrices_is_one_convolution(m: int, n: int, q: int) -> None:
    a, b = torch.randn(m, n, dtype=torch.float64), torch.randn(n, q, dtype=torch.float64)
    assert (matmul_by_convolution(a, b) - a @ b).abs().max() < 1e-11


# 7, 8 ---------------------------------------------------------------------------------------------------------------


def test_energy_is_conserved_between_the_planes() -> None:
    x = torch.randn(9, 12, dtype=torch.float64)
    spectrum = torch.fft.fft2(x)
    assert float(x.square().sum()) == pytest.approx(float(spectrum.abs().square().sum()) / x.numel(), rel=1e-12)


@few
@given(st.integers(0, 5), st.integers(0, 7))
def test_a_shifted_tile_gives_a_shifted_result(down: int, right: int) -> None:
    x, w = torch.rand(1, 1, 6, 5, dtype=torch.float64), torch.rand(1, 1, 3, 4, dtype=torch.float64)
    plane = x.new_zeros(1, 1, 20, 20)
    moved = plane.clone()
    plane[..., :6, :5] = x
    moved[..., down : down + 6, right : right + 5] = x
    full = padded("full", 3, 4)
    here, there = convolve(plane, w, full), convolve(moved, w, full)
    assert torch.allclose(here.roll((down, right), (-2, -1))[..., 5:, 7:], there[..., 5:, 7:], atol=1e-12)


# 11 -----------------------------------------------------------------------------------------------------------------


def test_gradients_of_the_ideal_path_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    w = torch.randn(3, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: convolve(x, w, ((1, 1), (0, 1))), (x, w))
    signed = load_device("ideal:full_scale=1000")
    # The square law's root is exact away from the dark; positive fields are.
    assert torch.autograd.gradcheck(
        lambda x, w: optical_conv2d(x, w, None, signed),
        (x.detach().abs().requires_grad_(), w.detach().abs().requires_grad_()),
    )


@pytest.mark.parametrize("device", ["theoretical-2MHz", "dmd", "lcos:kernel_plane=fourier", "dmd:detector=amplitude"])
@pytest.mark.parametrize("more", ["", "channel_sum=coherent,signed_input=offset", "dark_current=5,exposure=0.01"])
def test_gradients_pass_straight_through_all_options(device: str, more: str) -> None:
    torch.manual_seed(0)
    separator = "," if ":" in device else ":"
    layer = OpticalConv2d(3, 4, 3, padding=1, device_profile=device + (separator + more if more else ""))
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    layer(x).square().mean().backward()
    for grad in (x.grad, layer.weight.grad, layer.bias.grad):
        assert grad is not None
        assert torch.isfinite(grad).all()
        assert grad.abs().sum() > 0


def test_straight_through_gradients_point_where_the_exact_ones_do() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 10, 10)
    w = torch.randn(4, 3, 3, 3)
    grads = []
    for device in ("ideal", "theoretical-2MHz:full_well=1000000"):
        leaf = w.clone().requires_grad_()
        optical_conv2d(x, leaf, None, load_device(device)).square().mean().backward()
        grads.append(leaf.grad.flatten())
    assert float(F.cosine_similarity(*grads, dim=0)) > 0.99


# layers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 25},
        {"kernel_size": (3, 2), "stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2)},
        {"kernel_size": 3, "stride": 2, "padding": 3},
        {"kernel_size": 3, "dilation": 2, "groups": 2},
    ],
)
def test_transposed_convolutions_are_full_ones(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    theirs = torch.nn.ConvTranspose2d(4, 6, **options)
    ours = OpticalConvTranspose2d(4, 6, **options)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 6, 7)
    close(ours(x), theirs(x), 1e-5)
    set_device(ours, "ideal:full_scale=1000")
    close(ours(x), theirs(x), 1e-4)


@pytest.mark.parametrize(("features", "rows"), [(64, 8), (192, 12), (7, 1), (128, 8)])
def test_a_linear_layer_is_a_kernel_as_large_as_the_plane(features: int, rows: int) -> None:
    torch.manual_seed(0)
    theirs = torch.nn.Linear(features, 5)
    ours = OpticalLinear(features, 5)
    assert ours.rows == rows
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, features)
    close(ours(x), theirs(x), 1e-6)
    assert set_device(torch.nn.Sequential(ours), "ideal:full_scale=1000") == 1
    close(ours(x), theirs(x), 1e-5)


def test_darkness_is_the_only_padding() -> None:
    with pytest.raises(ValueError, match="darkness"):
        OpticalConv2d(1, 1, 3, padding=1, padding_mode="circular")


def test_chunks_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from archgraph.optical import fields

    x, w = torch.rand(2, 4, 12, 12), torch.randn(6, 2, 7, 7)
    whole = torch.cat(list(pair_fields(x, w, groups=2, method="fft")), 1)
    monkeypatch.setattr(fields, "CHUNK", 1000)
    parts = list(pair_fields(x, w, groups=2, method="fft"))
    assert len(parts) > 1
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-6)
