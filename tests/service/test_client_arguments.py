"""Invalid arguments of a connection are refused by name."""

from __future__ import annotations

import numpy as np
import pytest

import anytag
from anytag.errors import UsageError

ADDRESS = "http://127.0.0.1:9"


@pytest.mark.parametrize("url", [None, 5, b"http://x", [], [None], np.zeros(3)])
def test_an_address_that_is_no_text(url):
    with pytest.raises(UsageError, match=r"^url must be a string, not "):
        anytag.connect(url)


@pytest.mark.parametrize("url", ["http://[x", "http://host:port", "ftp://host", "http://"])
def test_a_text_that_is_no_address(url):
    with pytest.raises(UsageError, match="not the address of a service"):
        anytag.connect(url)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": 1.5}, "key must be a string, not 1.5"),
        ({"key": np.zeros(3)}, "key must be a string, not "),
        ({"model": []}, "model must be a string, not "),
        ({"timeout": "x"}, "timeout must be a number, not 'x'"),
        ({"timeout": -1}, "timeout must lie between 0.001 and 1e.06, not -1"),
        ({"timeout": float("nan")}, "timeout must lie between"),
    ],
)
def test_other_arguments(options, message):
    with pytest.raises(UsageError, match=message):
        anytag.connect(ADDRESS, **options)
