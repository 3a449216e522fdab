"""What an unquoted YAML scalar means, decided so that YAML 1.1, YAML 1.2 and JSON readers all agree."""

from __future__ import annotations

import math
import re
from typing import Final

__all__ = ["Refused", "Scalar", "clip", "number_text", "quote", "resolve"]

Scalar = str | int | float | bool | None

_CONSTANTS: Final[dict[str, Scalar]] = {"true": True, "false": False, "null": None}
_BOOL_WORDS: Final = {
    **dict.fromkeys(("yes", "Yes", "YES", "on", "On", "ON", "True", "TRUE"), True),
    **dict.fromkeys(("no", "No", "NO", "off", "Off", "OFF", "False", "FALSE"), False),
}
_NULL_WORDS: Final = frozenset(("", "~", "Null", "NULL"))
# Some reader takes a scalar with such a beginning for something else than text.
_SUSPECT: Final = frozenset("0123456789+-.=<~yYnNtTfFoO")

_JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_YAML11_INT: Final = re.compile(
    r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+|(?:0|[1-9][0-9_]*)|[1-9][0-9_]*(?::[0-5]?[0-9])+)"
)
_YAML11_FLOAT: Final = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
)
_YAML11_DATE: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?"
    r"(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::?[0-9]{2})?))?"
)
_YAML12_NUMBER: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+")


class Refused(Exception):
    """A plain scalar on which readers differ: `message` says how, `spelling` what to write instead."""

    def __init__(self, message: str, spelling: str) -> None:
        super().__init__(message)
        self.message = message
        self.spelling = spelling


def clip(text: str) -> str:
    """`text`, shortened for a message."""
    return text if len(text) <= 60 else text[:59] + "…"


def resolve(text: str) -> Scalar:
    """The value of an unquoted scalar. Raises `Refused` where stock PyYAML or YAML 1.2 would read another one."""
    if text and text[0] not in _SUSPECT:
        return _CONSTANTS[text] if text == "null" else text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text in _BOOL_WORDS:
        value = "true" if _BOOL_WORDS[text] else "false"
        raise Refused(f"some YAML readers take `{text}` for {value}", f"`{quote(text)}` for text, else `{value}`")
    if text in _NULL_WORDS:
        raise Refused(f"`{text}` is read as null" if text else "an empty value is read as null", "`null`")
    if text in ("=", "<<"):
        raise Refused(f"`{text}` alone has a special meaning in YAML", f"`{quote(text)}`")
    number = _JSON_NUMBER.fullmatch(text)
    if number:
        return _number(text, whole=number[1] is None and number[2] is None)
    if _YAML11_DATE.fullmatch(text):
        raise Refused(f"some YAML readers take `{text}` for a date", f"`{quote(text)}`")
    if _YAML11_INT.fullmatch(text) or _YAML11_FLOAT.fullmatch(text) or _YAML12_NUMBER.fullmatch(text):
        raise Refused(f"YAML readers differ on `{clip(text)}`", _spelling(text))
    return text


def _number(text: str, whole: bool) -> int | float:
    if whole:
        if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
            raise Refused(
                f"{text[:24]}{'…' * (len(text) > 24)} does not fit in 64 bits", "a smaller number, or text in quotes"
            )
        return int(text)
    value = float(text)
    if not math.isfinite(value):
        raise Refused(f"`{clip(text)}` is beyond the largest float", "a smaller number, or text in quotes")
    if not _YAML11_FLOAT.fullmatch(text):
        raise Refused(
            f"`{clip(text)}` is a number for some YAML readers and text for others", f"`{number_text(value)}`"
        )
    return value


def _spelling(text: str) -> str:
    """What to write for something that is a number to at least one reader."""
    as_text = f"`{quote(clip(text))}` for text"
    plain = text.lstrip("+-").replace("_", "").lower()
    sign = "-" if text.startswith("-") else ""
    value: int | float
    if re.fullmatch("0[0-9]+", plain):
        return f"`{sign}{plain.lstrip('0') or '0'}` for a decimal number (leading zeros mean octal to some), {as_text}"
    try:
        value = int(plain, 0) if plain.startswith(("0x", "0o", "0b")) else float(plain)
    except ValueError:  # sexagesimal, infinity, or nothing but underscores
        return as_text
    if not math.isfinite(value):
        return as_text
    if isinstance(value, float) and not re.search("[.e]", plain):
        value = int(plain)
    if abs(value) >= 2**63 and isinstance(value, int):
        return as_text
    return f"`{sign}{number_text(value)}`, {as_text}"


def number_text(value: int | float) -> str:
    """The spelling of a number that every reader takes for the same number: `1.0e-6`, never `1e-06`."""
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent[0]}{exponent[1:].lstrip('0')}"


_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def quote(text: str) -> str:
    """`text` as a quoted scalar on one line; single quotes where double ones would need escapes."""
    if text.isprintable():
        if '"' not in text and "\\" not in text:
            return f'"{text}"'
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(_ESCAPES.get(char) or (char if char.isprintable() else _escape(char)) for char in text) + '"'


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
