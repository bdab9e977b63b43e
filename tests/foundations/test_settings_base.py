"""The base of settings: what is wrong with one, in words."""

from __future__ import annotations

import pytest
from pydantic import ValidationError, model_validator

from anytag.foundations.settings import LearningRate, Seed, Settings, Size, first_error


class Toy(Settings):
    size: Size = 1
    seed: Seed = 0
    rate: LearningRate = 0.1

    @model_validator(mode="after")
    def _odd(self):
        if self.size % 2 == 0:
            raise ValueError("an even size")
        return self


@pytest.mark.parametrize(
    ("given", "where", "complaint"),
    [
        ({"size": 0}, ("size",), "Input should be greater than or equal to 1"),
        ({"size": 2}, (), "an even size"),
        ({"seed": 1 << 63}, ("seed",), "Input should be less than 9223372036854775808"),
        ({"rate": float("nan")}, ("rate",), "Input should be a finite number"),
        ({"rate": float("inf")}, ("rate",), "Input should be a finite number"),
        ({"sise": 1}, ("sise",), "Extra inputs are not permitted"),
    ],
)
def test_the_first_error_has_location_and_message(given, where, complaint):
    with pytest.raises(ValidationError) as caught:
        Toy(**given)
    assert first_error(caught.value) == (where, complaint)


def test_values_within_bounds():
    assert Toy(size=3, seed=(1 << 63) - 1, rate=0).size == 3
