"""The prompt ensemble that turns a category's name into one text embedding, as RAM does for open-set labels.

The 63 sentences are those of ViLD (Gu et al., 2022, appendix), which extend CLIP's ImageNet prompts. RAM averages
their embeddings (Zhang et al., 2023, section 3.3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def _both(sentence: str) -> tuple[str, str]:
    """With the indefinite article, then with "the"."""
    return sentence.replace("*", "{article}"), sentence.replace("*", "the")


#: In the official order. "itap" is short for "I took a picture", the headlines of a photographers' forum.
TEMPLATES: tuple[str, ...] = (
    *_both("There is * {name} in the scene."),
    *_both("a photo of * {name} in the scene."),
    "a photo of one {name} in the scene.",
    *("itap of {article} {name}.", "itap of my {name}.", "itap of the {name}."),
    *("a photo of {article} {name}.", "a photo of my {name}.", "a photo of the {name}."),
    *("a photo of one {name}.", "a photo of many {name}."),
    *(t for look in ("good", "bad") for t in _both(f"a {look} photo of * {{name}}.")),
    *(
        f"a photo of {article} {look} {{name}}."
        for look in ("nice", "cool", "weird", "small", "large", "clean", "dirty")
        for article in ("a", "the")
    ),
    *(t for look in ("bright", "dark") for t in _both(f"a {look} photo of * {{name}}.")),
    *("a photo of a hard to see {name}.", "a photo of the hard to see {name}."),
    *(
        t
        for look in ("low resolution", "cropped", "close-up", "jpeg corrupted", "blurry", "pixelated")
        for t in _both(f"a {look} photo of * {{name}}.")
    ),
    *reversed(_both("a black and white photo of * {name}.")),
    *(
        f"{article} {material} {{name}}."
        for material in ("plastic", "toy", "plushie", "cartoon")
        for article in ("a", "the")
    ),
    *("an embroidered {name}.", "the embroidered {name}."),
    # The last article is fixed: "a painting of a owl".
    *("a painting of the {name}.", "a painting of a {name}."),
)


def clean_name(name: str) -> str:
    """A category's name as it stands in a sentence: no underscores, slashes or full stops at the end, lower case."""
    return name.replace("_", " ").replace("/", " or ").lower().rstrip(".")


def open_set_prompts(name: str, released_articles: bool = True) -> list[str]:
    """The 63 sentences of a category, in the order of the official code.

    Args:
        name: As its owner writes it.
        released_articles: Choose "a" or "an" by the first character as it is written, so that "Owl" becomes "a owl":
            the official label embeddings were made so. ``False``: by the cleaned name, "an owl", in every sentence.

    Returns:
        Sentences; "This is" stands before those that would start with an "a" or "the".
    """
    text = clean_name(name)
    article = "an" if (name if released_articles else text).startswith(("a", "e", "i", "o", "u")) else "a"
    prompts = [template.format(article=article, name=text) for template in TEMPLATES]
    if not released_articles:
        prompts[-1] = f"a painting of {article} {text}."
    return [f"This is {prompt}" if prompt.startswith(("a", "the")) else prompt for prompt in prompts]


def normalize(embeddings: FloatArray) -> FloatArray:
    """Vectors ``[..., D]`` at length one; a zero vector stays."""
    lengths = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    result: FloatArray = (embeddings / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return result


def ensemble(embeddings: FloatArray) -> FloatArray:
    """One unit vector ``[D]`` for the embeddings ``[P, D]`` of a label's prompts: normalized, averaged, normalized.

    Raises:
        ValueError: If there is no embedding.
    """
    if not len(embeddings):
        raise ValueError("an ensemble needs at least one embedding")
    return normalize(normalize(embeddings).mean(axis=0))
