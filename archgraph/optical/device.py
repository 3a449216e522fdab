"""Device profiles: what a 4f system can show, detect and how fast, as YAML files checked key by key.

A device is named by a text: a shipped profile or the path of a file, and changes to it behind a colon, as in
``dmd:camera_bits=6,signed_input=offset``. An override's value is read like a YAML scalar.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from archgraph.ir.diagnostics import Diagnostic, Span, SpecError, did_you_mean
from archgraph.spec.yaml import YMap, load_yaml, read_source, span_of

__all__ = ["Device", "load_device", "shipped_devices"]

PROFILES: Final = Path(__file__).parent / "devices"

#: Words of the fields that take one.
WORDS: Final[dict[str, tuple[str, ...]]] = {
    "geometry": ("linear", "optnn"),
    "kernel_plane": ("spatial", "fourier"),
    "signed_input": ("split", "offset", "clip"),
    "channel_sum": ("electronic", "coherent"),
    "detector": ("intensity", "amplitude"),
    "multiplexing": ("pulse_width", "binary"),
    "tile": ("square", "rectangle"),
    "attention": ("electronic", "optical"),
}


@dataclass(frozen=True, slots=True)
class Device:
    """One 4f system. Lengths in metres, times in seconds, rates in hertz, powers in watts, energies in joules.

    Attributes
    ----------
    width, height : int
        Pixels of the input plane.
    wavelength, focal_length, aperture : float
        Of the light, of both lenses, and the radius of the aperture.
    input_rate, kernel_rate, camera_rate : float
        Frames a second of the input modulator, of the modulator in the Fourier plane, and of the camera.
    exposure, modulator_latency, readout : float
        Exposure of one frame, settling of a modulator, reading of the camera.
    input_bits, kernel_bits, camera_bits : int or None
        Levels of the input amplitude, of the kernel and of the detected signal; None: continuous.
    native_input_bits : int or None
        What the input modulator shows in one frame; more bits take several, by ``multiplexing``: 2**b - 1 equal ones
        (``pulse_width``), or b weighted ones (``binary``).
    kernel_plane : {"spatial", "fourier"}
        Whether ``kernel_bits`` quantise the kernel, or modulus and phase of its transfer function.
    pseudo_negative : bool
        Signed kernels as the difference of two passes; without it the sign is lost at the detector.
    signed_input : {"split", "offset", "clip"}
        Signed inputs as two passes, as one with a constant added, or cut off at zero.
    channel_sum : {"electronic", "coherent"}
        Whether each pair of channels is detected and then added, or the fields superpose before the detector.
    detector : {"intensity", "amplitude"}
        A square law whose root is taken electronically, or the amplitude itself.
    full_scale : float or None
        Amplitude at which the camera is full; None: the largest of each pass.
    full_well : float or None
        Photo-electrons of a full pixel; None: no noise at all.
    shot_noise : bool
    read_noise, dark_current : float
        Electrons rms, and electrons a second.
    geometry : {"linear", "optnn"}
        ``optnn`` repeats the public simulator of the same name, its rolled channels included.
    tile : {"square", "rectangle"}
        Pitch of tiles that are not square: their longer side both ways, or each its own.
    attention : {"electronic", "optical"}
        Where the products of queries and keys are made.
    laser_power, input_power, kernel_power, camera_power : float
    adc_energy, dac_energy : float
        Of one conversion, per level.
    quantum_efficiency, throughput : float
        Of the camera, and of the optics.
    """

    name: str = "ideal"
    width: int = 3840
    height: int = 2160
    wavelength: float = 532e-9
    focal_length: float = 10e-3
    aperture: float = 2.5e-3
    input_rate: float = 2e6
    kernel_rate: float = 2e6
    camera_rate: float = 2e6
    exposure: float = 0.0
    modulator_latency: float = 0.0
    readout: float = 0.0
    input_bits: int | None = None
    kernel_bits: int | None = None
    camera_bits: int | None = None
    native_input_bits: int | None = None
    multiplexing: str = "binary"
    kernel_plane: str = "spatial"
    pseudo_negative: bool = True
    signed_input: str = "split"
    channel_sum: str = "electronic"
    detector: str = "intensity"
    full_scale: float | None = None
    full_well: float | None = None
    shot_noise: bool = True
    read_noise: float = 10.0
    dark_current: float = 0.0
    geometry: str = "linear"
    tile: str = "square"
    attention: str = "electronic"
    laser_power: float = 1.0
    input_power: float = 5.0
    kernel_power: float = 5.0
    camera_power: float = 5.0
    adc_energy: float = 50e-15
    dac_energy: float = 20e-15
    quantum_efficiency: float = 0.6
    throughput: float = 0.25

    @property
    def is_exact(self) -> bool:
        """Whether what it computes is the convolution itself: no level, no noise, no sign lost."""
        return (
            self.geometry == "linear"
            and self.input_bits is None
            and self.kernel_bits is None
            and self.camera_bits is None
            and self.full_well is None
            and self.full_scale is None
            and self.pseudo_negative
            and self.signed_input != "clip"
        )

    @property
    def passes(self) -> int:
        """Optical passes of one convolution: two for signed kernels, times two for signed inputs that are split."""
        return (2 if self.pseudo_negative else 1) * (2 if self.signed_input == "split" else 1)

    @property
    def subframes(self) -> int:
        """Frames that one input takes, where the modulator shows fewer bits at once than are asked for."""
        if self.input_bits is None or self.native_input_bits is None or self.input_bits <= self.native_input_bits:
            return 1
        return 2**self.input_bits - 1 if self.multiplexing == "pulse_width" else self.input_bits

    @property
    def frame_rate(self) -> float:
        """Frames a second when pipelined: that of the slowest part."""
        rates = [self.input_rate, self.kernel_rate, self.camera_rate]
        if self.exposure > 0:
            rates.append(1 / self.exposure)
        return min(rates)

    @property
    def frame_latency(self) -> float:
        """Seconds from a frame's first light to its numbers, not pipelined."""
        flight = 4 * self.focal_length / 299_792_458
        return self.modulator_latency + flight + self.exposure + self.readout

    @property
    def pixel_pitch(self) -> float:
        """Pitch at which the chain of lenses is a discrete Fourier transform of ``max(width, height)`` points."""
        return float((self.wavelength * self.focal_length / max(self.width, self.height)) ** 0.5)

    @property
    def photon_floor(self) -> float:
        """Least laser power, watts, that fills every pixel's well in each frame."""
        photon = 6.626_070_15e-34 * 299_792_458 / self.wavelength
        wells = self.width * self.height * (self.full_well or 0.0)
        return wells * photon * self.frame_rate / (self.quantum_efficiency * self.throughput)

    def to_dict(self) -> dict[str, Any]:
        """All fields, and what follows from them."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**own, "passes": self.passes, "subframes": self.subframes, "frame_rate": self.frame_rate}

    def with_(self, **changes: Any) -> Device:
        """A copy with some fields changed."""
        return replace(self, **changes)


_TYPES: Final = get_type_hints(Device)
_NAMES: Final = tuple(f.name for f in fields(Device) if f.name != "name")
assert all(f.default is not MISSING for f in fields(Device))


def shipped_devices() -> Iterator[str]:
    """Names of the shipped profiles."""
    yield from sorted(p.stem for p in PROFILES.glob("*.yaml"))


@lru_cache(maxsize=64)
def load_device(text: str) -> Device:
    """The device that a text names; see this module.

    Raises
    ------
    SpecError
        If there is no such profile, or a key or value is wrong.
    """
    name, _, changes = text.partition(":")
    path = Path(name) if name.endswith((".yaml", ".yml")) else PROFILES / f"{name}.yaml"
    if not path.is_file():
        near = did_you_mean(name, list(shipped_devices()))
        hint = f"did you mean `{near}`?" if near else "a shipped one, or the path of a .yaml file"
        known = ", ".join(shipped_devices())
        raise SpecError(Diagnostic("device/unknown", None, f"no device `{name}`", expected=known, hint=hint))
    raw = load_yaml(read_source(path), str(path))
    if not isinstance(raw, YMap):
        raise SpecError(Diagnostic("device/form", Span(str(path), 1, 1), "a device is a mapping from keys to values"))
    found = replace(Device(name=path.stem), **dict(_checked(raw)))
    if changes:
        found = replace(found, **dict(_overrides(changes, text)))
    return found


def _checked(raw: YMap) -> Iterator[tuple[str, Any]]:
    faults = []
    for key, value in raw.items():
        if key in ("archgraph", "summary", "source"):
            continue
        try:
            yield str(key), _value(str(key), value)
        except ValueError as error:
            faults.append(Diagnostic("device/value", span_of(raw, key, key=str(key) not in _NAMES), str(error)))
    if faults:
        raise SpecError(*faults)


def _overrides(text: str, whole: str) -> Iterator[tuple[str, Any]]:
    for part in text.split(","):
        key, equals, value = part.partition("=")
        try:
            if not equals:
                raise ValueError(f"`{part}` changes nothing: write key=value")
            yield key.strip(), _value(key.strip(), _scalar(value.strip()))
        except ValueError as error:
            raise SpecError(Diagnostic("device/value", None, f"in `{whole}`: {error}")) from None


def _scalar(text: str) -> Any:
    if text in ("null", "true", "false"):
        return {"null": None, "true": True, "false": False}[text]
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _value(key: str, value: Any) -> Any:
    """A field's value, checked; raises ValueError with what is wrong."""
    if key not in _NAMES:
        near = did_you_mean(key, list(_NAMES))
        raise ValueError(f"a device has no `{key}`" + (f"; did you mean `{near}`?" if near else ""))
    if key in WORDS:
        if value not in WORDS[key]:
            raise ValueError(f"`{key}` is one of {', '.join(WORDS[key])}, not {value!r}")
        return value
    kinds = get_args(_TYPES[key]) or (_TYPES[key],)
    if value is None and type(None) in kinds:
        return None
    if bool in kinds:
        if isinstance(value, bool):
            return value
        raise ValueError(f"`{key}` is true or false, not {value!r}")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"`{key}` is a number, not {value!r}")
    if int in kinds:
        least = 1
        if value != int(value) or value < least:
            raise ValueError(f"`{key}` is a whole number of at least {least}, not {value}")
        return int(value)
    if value < 0 or (value == 0 and key in _POSITIVE):
        raise ValueError(f"`{key}` is {'positive' if key in _POSITIVE else 'not negative'}, not {value}")
    return float(value)


_POSITIVE: Final = frozenset(
    {"wavelength", "focal_length", "aperture", "input_rate", "kernel_rate", "camera_rate", "full_scale", "full_well"}
    | {"quantum_efficiency", "throughput"}
)
