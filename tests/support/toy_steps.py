"""Small models for the decoding loop, as step functions, and the loop with defaults for them."""

from __future__ import annotations

import numpy as np

from anytag.inference.decoding_options import DecodingOptions
from anytag.inference.generation import generate

EOS, PAD = 1, 0


def toy_scores(tokens, vocabulary, eos_id, eos_bias):
    """Scores from the first token, the last two and the length; the model behind the fixture file."""
    v = np.arange(vocabulary) + 1.0
    first, last = tokens[:, :1] + 1.0, tokens[:, -1:] + 1.0
    previous = tokens[:, -2:-1] + 1.0 if tokens.shape[1] > 1 else np.ones_like(last)
    scores = (
        2.5 * np.sin(0.37 * first * v + 1.3 * last)
        + 2.5 * np.sin(0.91 * last * v + 0.11 * previous)
        + 1.5 * np.sin(0.53 * previous * v + 2.0 * tokens.shape[1])
    )
    scores[:, eos_id] += eos_bias
    return scores.astype(np.float32)


def toy_step(vocabulary=12, eos_id=EOS, eos_bias=0.0):
    """A model whose cache is the history of its row: wrongly reordered, it gives other captions."""

    def step(tokens, cache):
        history = np.concatenate([cache["history"], tokens], axis=1) if cache else tokens
        return toy_scores(history, vocabulary, eos_id, eos_bias), {"history": history}

    return step


def markov_step(table):
    """Log probabilities [V, V] of the next token after the last."""
    table = np.asarray(table, dtype=np.float32)
    return lambda tokens, cache: (table[tokens[:, -1]], {})


def run(step, prompt=(0,), num_pictures=1, banned=(), **options):
    return generate(
        step,
        np.array(prompt),
        num_pictures=num_pictures,
        eos_id=EOS,
        pad_id=PAD,
        options=DecodingOptions(**{"min_length": 0, **options}),
        banned=banned,
    )
