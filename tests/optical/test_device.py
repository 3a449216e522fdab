"""Device profiles: shipped ones, files, changes, and what is refused."""

from pathlib import Path

import pytest

from archgraph.ir.diagnostics import SpecError
from archgraph.optical.device import Device, load_device, shipped_devices


def test_shipped_profiles_load() -> None:
    names = list(shipped_devices())
    assert names == ["dmd", "ideal", "lcos", "optnn", "theoretical-2MHz"]
    assert all(load_device(name).name == name for name in names)


def test_defaults_are_those_of_the_ideal_device() -> None:
    ideal = load_device("ideal")
    assert ideal == Device()
    assert ideal.is_exact
    assert (ideal.width, ideal.height, ideal.frame_rate) == (3840, 2160, 2e6)
    assert ideal.passes == 4


def test_changes_stand_behind_a_colon() -> None:
    device = load_device("dmd:camera_bits=6,signed_input=offset,full_well=null,read_noise=2.5")
    assert (device.camera_bits, device.signed_input, device.full_well, device.read_noise) == (6, "offset", None, 2.5)
    assert device.passes == 2
    assert load_device("ideal:pseudo_negative=false,signed_input=clip").passes == 1


def test_bits_beyond_the_modulators_own_take_subframes() -> None:
    assert load_device("dmd").subframes == 1
    assert load_device("dmd:input_bits=6").subframes == 6
    assert load_device("dmd:input_bits=6,multiplexing=pulse_width").subframes == 63
    assert load_device("lcos").subframes == 1


def test_the_slowest_part_sets_the_rate() -> None:
    assert load_device("ideal:kernel_rate=1000").frame_rate == 1000
    assert load_device("ideal:exposure=0.01").frame_rate == pytest.approx(100)
    assert load_device("dmd").frame_latency == pytest.approx(100e-6 + 4 * 0.01 / 299_792_458)


def test_pitch_and_photons() -> None:
    assert load_device("ideal:width=100,height=50").pixel_pitch == pytest.approx((532e-9 * 10e-3 / 100) ** 0.5)
    device = load_device("theoretical-2MHz:width=10,height=10")
    assert device.photon_floor == pytest.approx(100 * 10_000 * 3.734e-19 * 2e6 / (0.6 * 0.25), rel=1e-3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("idea", "did you mean `ideal`?"),
        ("nowhere.yaml", "no device `nowhere.yaml`"),
        ("dmd:camera_bit=3", "a device has no `camera_bit`; did you mean `camera_bits`?"),
        ("dmd:camera_bits=0", "`camera_bits` is a whole number of at least 1, not 0"),
        ("dmd:camera_bits", "write key=value"),
        ("dmd:detector=eye", "`detector` is one of intensity, amplitude, not 'eye'"),
        ("dmd:pseudo_negative=1", "`pseudo_negative` is true or false, not 1"),
        ("dmd:camera_rate=0", "`camera_rate` is positive, not 0"),
        ("dmd:read_noise=-1", "`read_noise` is not negative, not -1"),
        ("dmd:width=wide", "`width` is a number, not 'wide'"),
    ],
)
def test_mistakes_are_named(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_device(text)
    assert said in str(caught.value)


def test_a_file_is_checked_key_by_key(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("summary: mine\ncamera_bits: eight\nwdth: 3\n", encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_device(str(path))
    assert [d.at is not None and d.at.line for d in caught.value.diagnostics] == [2, 3]
    path.write_text("camera_bits: 5\n", encoding="utf-8")
    load_device.cache_clear()
    assert load_device(f"{path}").camera_bits == 5
