"""Generate captions by beam search, greedy search or nucleus sampling.

It works with every backend: a model is a :data:`~anytag.backends.base.Step`, which maps token ids and a cache to the
scores of the next token. Everything here is numpy; totals are float64.

The search follows transformers 4.25.1, the version that the official Tag2Text code uses; later versions score and stop
differently, and return other captions:

* A caption's score is its summed log probability divided by ``length ** length_penalty``. ``length`` counts the
  prompt but not the end token, although the end token's log probability is in the sum.
* Every step considers the best ``2 * num_beams`` continuations of a picture. An end token counts only among the
  first ``num_beams`` of them; the others fill the beams.
* A picture is done once ``num_beams`` captions have ended and the worst of them scores at least as high as the best
  continuation, whose total is divided by ``length ** length_penalty`` with the length before the new token.
* Captions that reach ``max_length`` without an end token compete with the ended ones by the same score.
* In beam search the repetition penalty acts on log probabilities, which are never positive, so it always
  multiplies; in greedy search and sampling it acts on the raw scores. Neither is normalized again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import Cache, Step
from anytag.errors import ModelError, UsageError
from anytag.inference.decoding_options import DecodingOptions


@dataclass(frozen=True, slots=True)
class Generated:
    """A generated caption.

    Attributes:
        tokens: Prompt, caption and, if it ended, the end token.
        score: Summed natural log probability of the tokens after the prompt, end token included, divided by
            ``length ** length_penalty``; the length excludes the end token. In beam search the log probabilities are
            those after the repetition penalty, otherwise the model's own.
        finished: Whether it ended with the end token.
    """

    tokens: tuple[int, ...]
    score: float
    finished: bool


def generate(step: Step, prompt: NDArray[np.int64], **options: Any) -> list[Generated]:
    """Generate one caption per picture: the best of :func:`generate_several`, which takes the same arguments."""
    return [captions[0] for captions in generate_several(step, prompt, **options)]


def generate_several(
    step: Step,
    prompt: NDArray[np.int64],
    *,
    num_pictures: int,
    eos_id: int,
    pad_id: int,
    options: DecodingOptions | None = None,
    banned: Collection[int] = (),
) -> list[list[Generated]]:
    """Generate captions for every picture: up to ``num_beams`` different ones, or one when sampling.

    Pictures are decoded independently: a picture gets the same captions alone and in any batch, provided that the
    rows of the step function do not depend on each other.

    Args:
        step: The model; it always gets ``num_pictures * options.rows_per_picture`` rows, grouped by picture.
        prompt: Token ids ``[P]`` for all, or ``[num_pictures, P]``; P at least 1 and below ``max_length``.
        num_pictures: Number of pictures; 0 gives an empty list.
        eos_id: The token that ends a caption.
        pad_id: Any valid token, fed to rows that have finished.
        options: ``None``: the defaults.
        banned: Tokens that are never generated.

    Returns:
        Captions per picture, highest score first; at least one each.

    Raises:
        UsageError: If the arguments do not fit together.
        ModelError: If the model's scores are not numbers, or its arrays have the wrong shape.
    """
    options = options or DecodingOptions()
    prompt = np.asarray(prompt, dtype=np.int64)
    if prompt.ndim == 1:
        prompt = np.broadcast_to(prompt, (num_pictures, len(prompt)))
    if prompt.ndim != 2 or len(prompt) != num_pictures:
        raise UsageError(f"prompt has the shape {prompt.shape}; it must be [P] or [{num_pictures}, P]")
    if not 1 <= prompt.shape[1] < options.max_length:
        raise UsageError(
            f"the prompt has {prompt.shape[1]} tokens; it needs at least 1 and, as max_length is "
            f"{options.max_length} with the prompt, at most {options.max_length - 1}"
        )
    if isinstance(options.seed, tuple) and len(options.seed) != num_pictures:
        raise UsageError(f"{len(options.seed)} seeds were given for {num_pictures} pictures")
    if eos_id in banned:
        raise UsageError(f"the end token {eos_id} cannot be banned; raise min_length for longer captions")
    if num_pictures == 0:
        return []
    rules = TokenRules(options, eos_id, np.asarray(sorted(banned), dtype=np.int64))
    model = CachedStep(step, num_pictures * options.rows_per_picture, options.rows_per_picture)
    if options.rows_per_picture == 1:
        return [[caption] for caption in search_single(model, prompt, pad_id, rules)]
    return search_beams(model, prompt, pad_id, rules)


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Constraints on the next token: options, end token, banned tokens."""

    options: DecodingOptions
    eos_id: int
    banned: NDArray[np.int64]

    def apply(self, scores: NDArray[np.float64], tokens: NDArray[np.int64]) -> None:
        """Change ``scores [rows, vocabulary]`` of the tokens that follow ``tokens [rows, length]``, in place.

        Raises:
            UsageError: If the end token or a banned token is not in the vocabulary.
        """
        size = scores.shape[1]
        for token in (self.eos_id, *self.banned[:1], *self.banned[-1:]):
            if not 0 <= token < size:
                raise UsageError(f"token {token} is not one of the model's {size} tokens (0 to {size - 1})")
        if self.options.repetition_penalty != 1:
            earlier = np.take_along_axis(scores, tokens, axis=1)
            penalty = self.options.repetition_penalty
            np.put_along_axis(scores, tokens, np.where(earlier < 0, earlier * penalty, earlier / penalty), axis=1)
        if self.options.no_repeat_ngram:
            _mask_repeats(scores, tokens, self.options.no_repeat_ngram)
        if tokens.shape[1] < self.options.min_length:
            scores[:, self.eos_id] = -np.inf
        scores[:, self.banned] = -np.inf


def _mask_repeats(scores: NDArray[np.float64], tokens: NDArray[np.int64], size: int) -> None:
    """Mask every token that would repeat an n-gram of ``size`` tokens, in place."""
    if tokens.shape[1] < size:
        return
    runs = np.lib.stride_tricks.sliding_window_view(tokens, size, axis=1)  # [rows, runs, size]
    begun = (runs[:, :, :-1] == tokens[:, None, tokens.shape[1] - size + 1 :]).all(axis=2)
    rows, places = np.nonzero(begun)
    scores[rows, runs[rows, places, -1]] = -np.inf


class CachedStep:
    """A step function that keeps its cache and checks its results."""

    def __init__(self, step: Step, rows: int, rows_per_picture: int):
        self._step = step
        self._rows = rows
        self._rows_per_picture = rows_per_picture
        self._cache: Cache = {}
        self._length = 0

    def __call__(self, tokens: NDArray[np.int64], used: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Scores ``[rows, vocabulary]`` of the next token; undefined in rows that are not ``used``."""
        self._length += tokens.shape[1]
        result, self._cache = self._step(tokens, self._cache)
        if result.ndim != 2 or len(result) != self._rows:
            raise ModelError(
                f"the text decoder gave scores of the shape {result.shape}; expected [{self._rows}, vocabulary]"
            )
        # C order, so that a row is summed in the same order whatever the batch size is.
        scores = np.array(result, dtype=np.float64, order="C")
        best = scores.max(axis=1)  # NaN if a single one is NaN
        if (bad := used & ~np.isfinite(best)).any():
            row = int(np.flatnonzero(bad)[0])
            raise ModelError(
                f"the text decoder's scores for picture {row // self._rows_per_picture} of the batch (from 0), token "
                f"{self._length}, are not finite (best: {best[row]}); the weights are damaged or overflow at this "
                "precision: check the model's files, or run it in float32"
            )
        return scores

    def reorder(self, order: NDArray[np.int64]) -> None:
        """Replace row i of the cache by row ``order[i]``."""
        if np.array_equal(order, np.arange(self._rows)):
            return  # Copying the whole cache takes as long as a step of a small decoder.
        for name, array in self._cache.items():
            if array.shape[:1] != (self._rows,):
                raise ModelError(f"cache {name!r} has the shape {array.shape}; axis 0 must be the {self._rows} rows")
        self._cache = {name: array[order] for name, array in self._cache.items()}


def _log_softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural log probabilities along the last axis."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def _best(scores: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Positions of the ``count`` highest of ``scores [n]`` that are not -inf, best first; ties keep their order.

    Faster than sorting a whole vocabulary and, unlike a bare partition, deterministic for ties.
    """
    if count < len(scores):
        limit = np.partition(scores, len(scores) - count)[len(scores) - count]
        places = np.flatnonzero((scores >= limit) & (scores > -np.inf))
    else:
        places = np.flatnonzero(scores > -np.inf)
    return places[np.argsort(-scores[places], kind="stable")][:count]


class _FinishedHypotheses:
    """The ``size`` best captions of one picture so far."""

    def __init__(self, size: int, length_penalty: float):
        self._size = size
        self._length_penalty = length_penalty
        self._captions: list[Generated] = []

    def __len__(self) -> int:
        return len(self._captions)

    def add(self, tokens: NDArray[np.int64], total: float, end: tuple[int, ...] = ()) -> None:
        """Add a caption of ``tokens`` (without ``end``) if there is room or it beats the worst."""
        score = total / len(tokens) ** self._length_penalty
        if len(self) == self._size:
            worst = min(self._captions, key=lambda caption: caption.score)
            if score <= worst.score:
                return
            self._captions.remove(worst)
        self._captions.append(Generated((*tokens.tolist(), *end), float(score), bool(end)))

    def beats(self, total: float, length: int) -> bool:
        """Whether there are ``size`` captions, each scoring at least as high as a continuation with that total."""
        bound = total / length**self._length_penalty
        return len(self) == self._size and min(caption.score for caption in self._captions) >= bound

    def ranked(self) -> list[Generated]:
        """The captions, highest score first; ties latest first."""
        latest_first = self._captions[::-1]
        return sorted(latest_first, key=lambda caption: -caption.score)


def search_beams(model: CachedStep, prompt: NDArray[np.int64], pad_id: int, rules: TokenRules) -> list[list[Generated]]:
    """Beam search for prompts ``[N, P]``, by the rules at the head of the module."""
    options, beams, pictures = rules.options, rules.options.num_beams, len(prompt)
    tokens = np.repeat(prompt, beams, axis=0)  # [N * beams, length]
    # A beam with total -inf is empty: at first all but one, since they would be identical.
    totals = np.full((pictures, beams), -np.inf)
    totals[:, 0] = 0.0
    finished = [_FinishedHypotheses(beams, options.length_penalty) for _ in range(pictures)]
    fed = tokens
    while tokens.shape[1] < options.max_length and np.isfinite(totals).any():
        length = tokens.shape[1]
        used = np.isfinite(totals).ravel()
        scores = model(fed, used)
        scores[~used] = 0.0
        scores = _log_softmax(scores)
        rules.apply(scores, tokens)
        scores += totals.reshape(-1, 1)
        vocabulary = scores.shape[1]
        order = np.arange(pictures * beams)
        chosen = np.full(pictures * beams, pad_id, dtype=np.int64)
        before, totals = totals, np.full((pictures, beams), -np.inf)
        for picture in np.flatnonzero(np.isfinite(before).any(axis=1)):
            first = picture * beams
            candidates = scores[first : first + beams].ravel()
            places = _best(candidates, 2 * beams)
            filled = 0
            for rank, place in enumerate(places):
                total, row, token = float(candidates[place]), first + int(place) // vocabulary, int(place) % vocabulary
                if token == rules.eos_id:
                    if rank < beams:
                        finished[picture].add(tokens[row], total, end=(token,))
                elif filled < beams:
                    slot = first + filled
                    order[slot], chosen[slot], totals[picture, filled] = row, token, total
                    filled += 1
            if len(places) and finished[picture].beats(float(candidates[places[0]]), length):
                totals[picture] = -np.inf
            elif not filled and not finished[picture]:
                # The rules allow no next token: return the captions as they are.
                for row in np.flatnonzero(np.isfinite(before[picture])):
                    finished[picture].add(tokens[first + row], float(before[picture, row]))
        model.reorder(order)
        tokens = np.concatenate([tokens[order], chosen[:, None]], axis=1)
        fed = chosen[:, None]
    for picture, beam in zip(*np.nonzero(np.isfinite(totals)), strict=True):
        finished[picture].add(tokens[picture * beams + beam], float(totals[picture, beam]))
    return [captions.ranked() for captions in finished]


def search_single(model: CachedStep, prompt: NDArray[np.int64], pad_id: int, rules: TokenRules) -> list[Generated]:
    """Greedy search or sampling for prompts ``[N, P]``, one row per picture."""
    options, pictures = rules.options, len(prompt)
    seeds = options.seed if isinstance(options.seed, tuple) else (options.seed,) * pictures
    streams = [np.random.default_rng(seed) for seed in seeds]
    tokens, fed = prompt, np.ascontiguousarray(prompt)
    lengths = np.full(pictures, prompt.shape[1])  # without the end token
    totals = np.zeros(pictures)
    running, finished = np.ones(pictures, dtype=np.bool_), np.zeros(pictures, dtype=np.bool_)
    while tokens.shape[1] < options.max_length and running.any():
        scores = model(fed, running)
        scores[~running] = 0.0
        logarithms = _log_softmax(scores)
        rules.apply(scores, tokens)
        chosen = np.full(pictures, pad_id, dtype=np.int64)
        for picture in np.flatnonzero(running):
            if scores[picture].max() == -np.inf:  # The rules allow no next token.
                running[picture] = False
                continue
            row = scores[picture]
            chosen[picture] = token = _sample(row, options, streams[picture]) if options.sample else int(row.argmax())
            totals[picture] += logarithms[picture, token]
            finished[picture] = token == rules.eos_id
            running[picture] = not finished[picture]
            lengths[picture] += running[picture]
        tokens = np.concatenate([tokens, chosen[:, None]], axis=1)
        fed = chosen[:, None]
    return [
        Generated(
            tuple(tokens[n, : lengths[n] + finished[n]].tolist()),
            float(totals[n] / lengths[n] ** options.length_penalty),
            bool(finished[n]),
        )
        for n in range(pictures)
    ]


def _sample(scores: NDArray[np.float64], options: DecodingOptions, stream: np.random.Generator) -> int:
    """Sample a token from the nucleus of ``scores [vocabulary]``, at least one of which is not -inf."""
    order = np.argsort(-scores, kind="stable")[: options.top_k or None]
    weights = np.exp((scores[order] - scores[order[0]]) / options.temperature)
    sums = np.cumsum(weights)
    kept = min(int(np.searchsorted(sums, options.top_p * sums[-1])) + 1, len(sums))
    place = int(np.searchsorted(sums[:kept], stream.random() * sums[kept - 1], side="right"))
    return int(order[min(place, kept - 1)])
