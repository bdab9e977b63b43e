"""Options of the search for captions."""

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
        temperature: Divides the scores when sampling; above 1 makes the probabilities more even.
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
        seeds = () if self.seed is None else self.seed if isinstance(self.seed, tuple) else (self.seed,)
        whole, number = (Integral, "a whole number"), (Real, "a number")
        types = {
            **dict.fromkeys(("num_beams", "max_length", "min_length", "no_repeat_ngram", "top_k"), whole),
            **dict.fromkeys(("length_penalty", "repetition_penalty", "top_p", "temperature"), number),
        }
        for name, (kind, what) in types.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, kind):
                raise UsageError(f"{name} is {value!r}; it must be {what}")
        are_whole = all(isinstance(seed, Integral) and not isinstance(seed, bool) for seed in seeds)
        rules = (
            ("sample", isinstance(self.sample, bool), "True or False"),
            ("seed", are_whole and all(seed >= 0 for seed in seeds), "a whole number from 0, or one per picture"),
            ("num_beams", self.num_beams >= 1, "at least 1"),
            ("max_length", self.max_length >= 1, "at least 1"),
            ("min_length", 0 <= self.min_length < self.max_length, "at least 0 and below max_length"),
            ("length_penalty", np.isfinite(self.length_penalty), "a finite number"),
            ("repetition_penalty", 0 < self.repetition_penalty < np.inf, "above 0; 1 is no penalty"),
            ("no_repeat_ngram", self.no_repeat_ngram >= 0, "at least 0; 0 allows repetition"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("top_k", self.top_k >= 0, "at least 0; 0 keeps every token"),
            ("temperature", 0 < self.temperature < np.inf, "above 0; 1 leaves the scores as they are"),
        )
        for name, holds, rule in rules:
            if not holds:
                raise UsageError(f"{name} is {getattr(self, name)!r}; it must be {rule}")

    @property
    def rows_per_picture(self) -> int:
        """Rows per picture in the step function: its beams, or 1 when sampling."""
        return 1 if self.sample else self.num_beams
