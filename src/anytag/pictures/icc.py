"""Create ICC profiles from primaries and curves, for pictures that specify their colors without a profile."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Point = tuple[float, float]
FloatArray = npt.NDArray[np.float64]

D65: Point = (0.3127, 0.3290)
_D50 = np.array([0.9642, 1.0, 0.8249])

#: Bradford's cone responses, for adapting white points (ICC.1:2022, annex E).
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

#: Luminance of diffuse white in high dynamic range, in candela per square meter (ITU-R BT.2408).
_HDR_WHITE = 203.0

_POINTS = 4096


@dataclass(frozen=True, slots=True)
class Primaries:
    """Chromaticities (x, y) of a color space."""

    red: Point
    green: Point
    blue: Point
    white: Point = D65


SRGB = Primaries((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
ADOBE_RGB = Primaries((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
DISPLAY_P3 = Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))

#: Color primaries of ITU-T H.273 by their code; 2 is "unspecified".
CODED_PRIMARIES = {
    1: SRGB,
    4: Primaries((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), (0.310, 0.316)),
    5: Primaries((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: Primaries((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: Primaries((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: Primaries((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: DISPLAY_P3,
    22: Primaries((0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}


def _srgb(value: FloatArray) -> FloatArray:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _perceptual_quantizer(value: FloatArray) -> FloatArray:
    """SMPTE ST 2084 to light, where 1 is diffuse white; brighter values are clipped."""
    root = value ** (1 / 78.84375)
    light = (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    return np.minimum(light * 10_000 / _HDR_WHITE, 1)


def _hybrid_log_gamma(value: FloatArray) -> FloatArray:
    """Hybrid log-gamma (ITU-R BT.2100) to light, where 1 is diffuse white (a signal of 0.75)."""
    high = (np.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return np.minimum(np.where(value <= 0.5, value**2 / 3, high) / 0.26496, 1)


#: Transfer curves of H.273 by their code. Those of television (1, 6, 14, 15) are displayed like sRGB.
CODED_CURVES: dict[int, float | Callable[[FloatArray], FloatArray]] = {
    **dict.fromkeys((1, 6, 13, 14, 15), _srgb),
    4: 2.2,
    5: 2.8,
    8: 1.0,
    16: _perceptual_quantizer,
    18: _hybrid_log_gamma,
}


@lru_cache(maxsize=64)
def coded_profile(primaries: int, transfer: int) -> bytes | None:
    """A profile for codes of H.273; ``None`` for sRGB and unknown codes."""
    curve = CODED_CURVES.get(transfer, _srgb)
    known = CODED_PRIMARIES.get(primaries, SRGB)
    return None if known is SRGB and curve is _srgb else make_profile(known, curve)


def make_profile(primaries: Primaries, curve: float | Callable[[FloatArray], FloatArray] = _srgb) -> bytes:
    """Create an ICC profile (version 2, matrix and curves) of an RGB color space.

    Args:
        curve: From values to light, both 0 to 1: an exponent or a function.

    Raises:
        ValueError: If the primaries are degenerate, or the exponent is out of range.
    """
    red, green, blue = _matrix(primaries).T
    trc = _exponent(curve) if isinstance(curve, float | int) else _table(curve)
    tags = {
        b"desc": _description("made from named colors"),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": _xyz(_D50),
        b"rXYZ": _xyz(red),
        b"gXYZ": _xyz(green),
        b"bXYZ": _xyz(blue),
        b"rTRC": trc,
        b"gTRC": trc,
        b"bTRC": trc,
    }
    return _assemble(tags)


def _matrix(primaries: Primaries) -> FloatArray:
    """Matrix from RGB to XYZ under D50."""
    corners = np.array([primaries.red, primaries.green, primaries.blue, primaries.white])
    if (corners[:, 1] <= 0).any() or (corners < 0).any():
        raise ValueError("chromaticities must be positive")
    xyz = np.stack([corners[:, 0], corners[:, 1], 1 - corners.sum(1)], 1) / corners[:, 1:]
    colors, white = xyz[:3].T, xyz[3]
    if abs(np.linalg.det(colors)) < 1e-6:
        raise ValueError("the primaries lie on one line")
    to_xyz = colors * np.linalg.solve(colors, white)
    scale = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    adapted: FloatArray = np.linalg.inv(_BRADFORD) @ scale @ _BRADFORD @ to_xyz
    if not (np.abs(adapted) < 16).all():
        raise ValueError("the primaries are out of range")
    return adapted


def _exponent(exponent: float) -> bytes:
    if not 0.1 <= exponent <= 10:
        raise ValueError(f"an exponent of {exponent} is out of range")
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256))


def _table(curve: Callable[[FloatArray], FloatArray]) -> bytes:
    values = np.round(curve(np.linspace(0, 1, _POINTS)) * 65535).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", _POINTS) + values.tobytes()


def _xyz(values: FloatArray) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def _description(text: str) -> bytes:
    ascii_text = text.encode("ascii") + b"\0"
    return b"desc\0\0\0\0" + struct.pack(">I", len(ascii_text)) + ascii_text + bytes(78)


def _assemble(tags: dict[bytes, bytes]) -> bytes:
    place = 128 + 4 + 12 * len(tags)
    table, content = struct.pack(">I", len(tags)), b""
    places: dict[bytes, int] = {}
    for name, body in tags.items():
        if body not in places:  # Equal curves are stored once.
            places[body] = place + len(content)
            content += body + bytes(-len(body) % 4)
        table += name + struct.pack(">II", places[body], len(body))
    size = 128 + len(table) + len(content)
    header = struct.pack(">I4xI4s4s4s", size, 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2000, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += struct.pack(">3i", *(round(float(value) * 65536) for value in _D50))
    return header.ljust(128, b"\0") + table + content
