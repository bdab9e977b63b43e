"""From next-token scores to captions: beam search, greedy search and nucleus sampling.

Written once for every backend: a model is only a :data:`~anytag.backends.base.Step`, from token ids and a cache to the
scores of the next token. Everything here is numpy; totals are kept in float64.

The search follows transformers 4.25.1, with which the official Tag2Text code was released; later versions
score and stop differently and give other captions:

* A caption's score is its summed log probability divided by ``length ** length_penalty``. ``length`` counts the
  prompt but not the end token, whose log probability is nevertheless in the sum.
* Every step looks at the best ``2 * num_beams`` continuations of a picture. An end token counts only among the
  first ``num_beams`` of them; the others fill the beams.
* A picture is done once ``num_beams`` captions have ended and the worst of them is at least as good as the best
  continuation divided by ``length ** length_penalty``, ``length`` being that before the new token.
* Captions that reach ``max_length`` without an end compete with the ended ones by the same score.
* In beam search the repetition penalty acts on log probabilities, which are never positive, so it always
  multiplies; in greedy search and sampling it acts on the raw scores. Neither is normalized again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import Step
from anytag.errors import UsageError
from anytag.inference.caption_search import CachedStep, Generated, TokenRules, search_beams, search_single
from anytag.inference.decoding_options import DecodingOptions

__all__ = ["DecodingOptions", "Generated", "generate", "generate_several"]


def generate(step: Step, prompt: NDArray[np.int64], **options: Any) -> list[Generated]:
    """Write one caption per picture: the best of :func:`generate_several`, which takes the same arguments."""
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
    """Write captions for every picture: up to ``num_beams`` different ones, a single one without beams.

    Every picture is decoded by itself: the captions of a batch are those of its pictures one at a time, provided
    that the step function's rows do not depend on each other.

    Args:
        step: The model; it always sees ``num_pictures * options.rows_per_picture`` rows, those of a picture
            together and in the order of the pictures. Rows of finished pictures get ``pad_id``.
        prompt: Token ids ``[P]`` for all, or ``[num_pictures, P]``; P at least 1 and below ``max_length``.
        num_pictures: Number of pictures; 0 gives an empty list.
        eos_id: The token that ends a caption.
        pad_id: Any valid token, fed to rows that are no longer of use.
        options: ``None``: the defaults.
        banned: Tokens that never occur after the prompt.

    Returns:
        Captions per picture, in order, those with the highest score first; at least one each.

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
