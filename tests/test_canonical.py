"""Canonical JSON is RFC 8785: the vectors of the RFC, and the reference implementation on whatever JSON there is."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from cryoprobe.canonical import canonical_json, digest

NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555556": "333333333.3333334",
    "becbf647612f3696": "-0.0000033333333333333333",
}
"""Doubles by their bits, and how they are written: RFC 8785, appendix B."""


@pytest.mark.parametrize(("bits", "written"), NUMBERS.items())
def test_numbers_are_written_as_the_rfc_says(bits: str, written: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(number) == written.encode()
    assert canonical_json({"a": [number]}) == f'{{"a":[{written}]}}'.encode()
    assert canonical_json(json.loads(written)) == written.encode()


def test_keys_are_sorted_as_the_rfc_says() -> None:
    keys = {"\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"}
    wanted = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(canonical_json(dict.fromkeys(keys, 0)))) == wanted


def test_texts_are_written_as_the_rfc_says() -> None:
    text = '\u20ac$\u000f\nA\'B"\\\\"/'
    assert canonical_json(text) == b'"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'


_EXACT = st.integers(-(2**53) + 1, 2**53 - 1)
_ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | _EXACT | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(), parts, max_size=4),
    max_leaves=12,
)


@given(_ANYTHING)
def test_whatever_json_there_is_is_written_as_the_reference_writes_it(value: Any) -> None:
    data = canonical_json(value)
    assert data == rfc8785.dumps(value)
    assert canonical_json(json.loads(data)) == data


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (-0.0, 0), (1e20, 10**20), ((1, 2), [1, 2])])
def test_what_is_one_value_in_json_has_one_digest(one: Any, other: Any) -> None:
    assert digest({"a": one}) == digest({"a": other})


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**53 + 1, 10**400, "\ud800", {"\udfff": 1}])
def test_what_json_cannot_keep_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        canonical_json({"a": value})
    with pytest.raises(TypeError):
        canonical_json({"a": {value}} if not isinstance(value, dict) else {"a": object()})
