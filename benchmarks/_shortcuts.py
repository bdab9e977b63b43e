"""Savings with the same tags: scoring only some tags, and a coarse pass that rules most of them out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from _families import Stages, in_turns

#: Number of tags in queries for only some.
FEW = 100

#: Log-odds below its threshold from which on a tag is ruled out by the coarse pass. Tags closer than that are scored
#: again; the pass is exact where it errs by less.
MARGIN = 0.25

COARSE = "torch coarse float32"


def few_tags(backends: dict[str, Any], labels: dict[str, Any], features: Any, runs: int) -> dict[str, Any]:
    """Seconds for some tags and for all, and the difference of their logits."""
    rows = np.linspace(0, len(next(iter(labels.values()))) - 1, FEW).astype(np.int64)
    stages: dict[str, Stages] = {}
    for name, backend in backends.items():
        some = labels[name].take(rows)
        stages[name] = {
            "all_s": lambda _, b=backend, n=name: b.recognize(features, labels[n]),
            "few_s": lambda everything, b=backend, s=some: (everything, b.recognize(features, s)),
        }
    found = {}
    for name, turn in in_turns(stages, runs).items():
        everything, few = turn.result
        found[name] = {
            "all_s": turn.seconds["all_s"],
            "few_s": turn.seconds["few_s"],
            "tags": FEW,
            "largest_difference": float(np.abs(few - everything[:, rows]).max()),
        }
    return found


def coarse_stages(backends: dict[str, Any], labels: dict[str, Any], pixels: Any, best: int) -> Stages:
    """Encode in float32, score all tags in bfloat16, and score candidates for the ``best`` again in float32."""
    exact, coarse = backends["torch float32"], backends["torch bfloat16"]

    def recognize(features: Any) -> Any:
        logits = coarse.recognize(features, labels["torch bfloat16"])
        limit = np.quantile(logits, 1 - best / logits.shape[1])
        near = np.flatnonzero((logits >= limit - MARGIN).any(0))
        logits[:, near] = exact.recognize(features, labels["torch float32"].take(near))
        return logits

    encode: Callable[[Any], Any] = lambda _: exact.encode(pixels).features  # noqa: E731
    return {"encode_s": encode, "recognize_s": recognize}
