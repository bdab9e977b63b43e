"""Options of caption generation."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

from anytag.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingOptions:
    """Options of beam search, greedy search and sampling.

    Attributes:
        num_beams: Beams per picture; 1 is greedy search. Ignored when sampling.
        max_length: Most tokens of a caption, prompt and end token included.
        min_length: Fewest tokens, prompt included, before the end token.
        length_penalty: Exponent of the length by which scores are divided; above 1 favors longer captions.
        repetition_penalty: Penalty on tokens of the prompt or caption so far; 1 is none (Keskar et al. 2019, CTRL,
            section 4.1).
        no_repeat_ngram: No n-gram of this many tokens occurs twice; 0 allows all.
        sample: Sample tokens (nucleus sampling, Holtzman et al. 2020) instead of searching.
        top_p: Sample from the fewest tokens whose total probability is at least this, in (0, 1].
        top_k: Sample from this many best tokens, before ``top_p``; 0 is all.
        temperature: Divides the scores when sampling; below 1 sharpens the distribution.
        seed: Seed of each picture's own random stream, so that a picture gets the same caption in any batch; or one
            seed per picture; ``None``: different every time.

    Raises:
        UsageError: If a value is out of its range.
    """

    num_beams: int = 3
    max_length: int = 30
    min_length: int = 8
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    sample: bool = False
    top_p: float = 0.9
    top_k: int = 0
    temperature: float = 1.0
    seed: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("num_beams", "max_length", "min_length", "no_repeat_ngram", "top_k"):
            self._check(name, getattr(self, name), Integral, "a whole number")
        for name in ("length_penalty", "repetition_penalty", "top_p", "temperature"):
            self._check(name, getattr(self, name), Real, "a number")
        if not isinstance(self.sample, bool):
            raise UsageError(f"sample is {self.sample!r}; it must be True or False")
        seeds = () if self.seed is None else self.seed if isinstance(self.seed, tuple) else (self.seed,)
        for seed in seeds:
            self._check("seed", seed, Integral, "a whole number from 0, or one per picture")
        rules = (
            ("num_beams", self.num_beams >= 1, "at least 1"),
            ("max_length", self.max_length >= 1, "at least 1"),
            ("min_length", 0 <= self.min_length < self.max_length, "at least 0 and below max_length"),
            ("length_penalty", np.isfinite(self.length_penalty), "a finite number"),
            ("repetition_penalty", 0 < self.repetition_penalty < np.inf, "above 0; 1 is no penalty"),
            ("no_repeat_ngram", self.no_repeat_ngram >= 0, "at least 0; 0 allows repetition"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("top_k", self.top_k >= 0, "at least 0; 0 keeps every token"),
            ("temperature", 0 < self.temperature < np.inf, "above 0; 1 leaves the scores as they are"),
            ("seed", all(seed >= 0 for seed in seeds), "a whole number from 0, or one per picture"),
        )
        for name, holds, rule in rules:
            if not holds:
                raise UsageError(f"{name} is {getattr(self, name)!r}; it must be {rule}")

    @staticmethod
    def _check(name: str, value: object, kind: type, what: str) -> None:
        if isinstance(value, bool) or not isinstance(value, kind):
            raise UsageError(f"{name} is {value!r}; it must be {what}")

    @property
    def rows_per_picture(self) -> int:
        """Rows per picture in the step function: its beams, or 1 when sampling."""
        return 1 if self.sample else self.num_beams
