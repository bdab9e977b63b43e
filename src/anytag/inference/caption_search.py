"""The searches behind :mod:`anytag.inference.generation`: beams, the likeliest token each time, and sampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import Cache, Step
from anytag.errors import ModelError, UsageError
from anytag.inference.decoding_options import DecodingOptions


@dataclass(frozen=True, slots=True)
class Generated:
    """One caption as tokens.

    Attributes:
        tokens: Prompt, caption and, if it ended, the end token.
        score: Summed log probability of the tokens after the prompt (natural logarithm, end token included), over
            the length without the end token to the power of ``length_penalty``. In beam search the summands are
            those after the repetition penalty; otherwise the model's own.
        finished: Whether it ended with the end token.
    """

    tokens: tuple[int, ...]
    score: float
    finished: bool


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What may follow the tokens that stand: options, end token, banned tokens."""

    options: DecodingOptions
    eos_id: int
    banned: NDArray[np.int64]

    def apply(self, scores: NDArray[np.float64], tokens: NDArray[np.int64]) -> None:
        """Change ``scores [rows, vocabulary]`` in place for rows whose ``tokens [rows, length]`` stand.

        Raises:
            UsageError: If the end token or a banned token is not in the vocabulary.
        """
        size = scores.shape[1]
        for token in (self.eos_id, *self.banned[:1], *self.banned[-1:]):
            if not 0 <= token < size:
                raise UsageError(f"token {token} is not one of the model's {size} tokens (0 to {size - 1})")
        if self.options.repetition_penalty != 1:
            seen = np.take_along_axis(scores, tokens, axis=1)
            penalty = self.options.repetition_penalty
            np.put_along_axis(scores, tokens, np.where(seen < 0, seen * penalty, seen / penalty), axis=1)
        if self.options.no_repeat_ngram:
            _mask_repeats(scores, tokens, self.options.no_repeat_ngram)
        if tokens.shape[1] < self.options.min_length:
            scores[:, self.eos_id] = -np.inf
        scores[:, self.banned] = -np.inf


def _mask_repeats(scores: NDArray[np.float64], tokens: NDArray[np.int64], size: int) -> None:
    """Mask in place every token that would complete a run of ``size`` tokens for the second time."""
    if tokens.shape[1] < size:
        return
    runs = np.lib.stride_tricks.sliding_window_view(tokens, size, axis=1)  # [rows, runs, size]
    begun = (runs[:, :, :-1] == tokens[:, None, tokens.shape[1] - size + 1 :]).all(axis=2)
    rows, places = np.nonzero(begun)
    scores[rows, runs[rows, places, -1]] = -np.inf


class CachedStep:
    """The step function with its cache, and with its results checked."""

    def __init__(self, step: Step, rows: int, rows_per_picture: int):
        self._step = step
        self._rows = rows
        self._rows_per_picture = rows_per_picture
        self._cache: Cache = {}
        self._length = 0

    def __call__(self, tokens: NDArray[np.int64], used: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Scores ``[rows, vocabulary]`` of the next token; what stands in rows not ``used`` is undefined."""
        self._length += tokens.shape[1]
        given, self._cache = self._step(tokens, self._cache)
        if given.ndim != 2 or len(given) != self._rows:
            raise ModelError(
                f"the text decoder gave scores of the shape {given.shape}; expected [{self._rows}, vocabulary]"
            )
        # C order, so that every row is summed in the same order whatever the batch is.
        scores = np.array(given, dtype=np.float64, order="C")
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
        """Make row i of the cache what row ``order[i]`` was."""
        if np.array_equal(order, np.arange(self._rows)):
            return  # copying the whole cache for nothing costs as much as a small decoder's step
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
    """Places of the ``count`` highest of ``scores [n]`` that are not -inf, best first; of equals the first comes first.

    Faster than sorting all of a vocabulary; and, unlike a bare partition, defined where scores are equal.
    """
    if count < len(scores):
        limit = np.partition(scores, len(scores) - count)[len(scores) - count]
        places = np.flatnonzero((scores >= limit) & (scores > -np.inf))
    else:
        places = np.flatnonzero(scores > -np.inf)
    return places[np.argsort(-scores[places], kind="stable")][:count]


class _FinishedHypotheses:
    """The best captions of one picture so far, at most ``size``."""

    def __init__(self, size: int, length_penalty: float):
        self._size = size
        self._length_penalty = length_penalty
        self._captions: list[Generated] = []

    def __len__(self) -> int:
        return len(self._captions)

    def add(self, tokens: NDArray[np.int64], total: float, end: tuple[int, ...] = ()) -> None:
        """Take a caption of ``tokens`` (without ``end``) if there is room or it beats the worst."""
        score = total / len(tokens) ** self._length_penalty
        if len(self) == self._size:
            worst = min(self._captions, key=lambda caption: caption.score)
            if score <= worst.score:
                return
            self._captions.remove(worst)
        self._captions.append(Generated((*tokens.tolist(), *end), float(score), bool(end)))

    def beats(self, total: float, length: int) -> bool:
        """Whether there are ``size`` captions, each at least as good as a continuation with that total."""
        bound = total / length**self._length_penalty
        return len(self) == self._size and min(caption.score for caption in self._captions) >= bound

    def ranked(self) -> list[Generated]:
        """The captions, those with the highest score first; of equals the one that came last."""
        latest_first = self._captions[::-1]
        return sorted(latest_first, key=lambda caption: -caption.score)


def search_beams(model: CachedStep, prompt: NDArray[np.int64], pad_id: int, rules: TokenRules) -> list[list[Generated]]:
    """Beam search for prompts ``[N, P]``; see the head of the module for the rule."""
    options, beams, pictures = rules.options, rules.options.num_beams, len(prompt)
    tokens = np.repeat(prompt, beams, axis=0)  # [N * beams, length]
    # A beam with total -inf is empty: at first all but one, as they would all say the same.
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
                # The rules leave nothing that could follow: give what stands rather than nothing.
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
            if scores[picture].max() == -np.inf:  # the rules leave nothing that could follow
                running[picture] = False
                continue
            draw = _draw(scores[picture], options, streams[picture]) if options.sample else scores[picture].argmax()
            chosen[picture] = token = int(draw)
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


def _draw(scores: NDArray[np.float64], options: DecodingOptions, stream: np.random.Generator) -> int:
    """A token drawn from the nucleus of ``scores [vocabulary]``, at least one of which is not -inf."""
    order = np.argsort(-scores, kind="stable")[: options.top_k or None]
    weights = np.exp((scores[order] - scores[order[0]]) / options.temperature)
    sums = np.cumsum(weights)
    kept = min(int(np.searchsorted(sums, options.top_p * sums[-1])) + 1, len(sums))
    place = int(np.searchsorted(sums[:kept], stream.random() * sums[kept - 1], side="right"))
    return int(order[min(place, kept - 1)])
