"""The prompt ensemble of an open-set label, whose text embeddings RAM averages (Zhang et al., 2023, section 3.3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anytag.language.data_files import data_lines

FloatArray = NDArray[np.float32]


TEMPLATES = tuple(data_lines("prompts.txt"))


def clean_name(name: str) -> str:
    """Return a name in lower case, without underscores, slashes and full stops at the end."""
    return name.replace("_", " ").replace("/", " or ").lower().rstrip(".")


def open_set_prompts(name: str, released_articles: bool = True) -> list[str]:
    """Return a category's 63 sentences in the order of the official code.

    Those that would start with "a" or "the" start with "This is" instead.

    Args:
        name: The category, as the user writes it.
        released_articles: Choose "a" or "an" by the first character as written, so that "Owl" becomes "a owl", like in
            the official label embeddings. ``False``: by the cleaned name, "an owl", in every sentence.
    """
    text = clean_name(name)
    article = "an" if (name if released_articles else text).startswith(("a", "e", "i", "o", "u")) else "a"
    prompts = [template.format(article=article, name=text) for template in TEMPLATES]
    if not released_articles:
        prompts[-1] = f"a painting of {article} {text}."
    return [f"This is {prompt}" if prompt.startswith(("a", "the")) else prompt for prompt in prompts]


def normalize(embeddings: FloatArray) -> FloatArray:
    """Scale vectors ``[..., D]`` to unit length; zero vectors stay."""
    lengths = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    result: FloatArray = (embeddings / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return result


def ensemble(embeddings: FloatArray) -> FloatArray:
    """Normalize the embeddings ``[P, D]`` of a label's prompts, average them, and normalize the result ``[D]``.

    Raises:
        ValueError: If there is no embedding.
    """
    if not len(embeddings):
        raise ValueError("an ensemble needs at least one embedding")
    return normalize(normalize(embeddings).mean(axis=0))
