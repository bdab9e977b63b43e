"""Prompt templates for systems that compare pictures with texts."""

from __future__ import annotations

#: Templates whose embeddings are averaged (Radford et al., 2021, section 3.1.4), for tags of all kinds: objects,
#: scenes, attributes and actions.
ENSEMBLE = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a photo of one {}.",
    "a photo of many {}.",
    "a close-up photo of a {}.",
    "a bright photo of a {}.",
    "a dark photo of a {}.",
    "a cropped photo of a {}.",
    "a good photo of a {}.",
    "a photo of a small {}.",
    "a photo of a large {}.",
    "there is a {} in the scene.",
    "there is the {} in the picture.",
    "a picture that shows {}.",
    "{}.",
)

#: One template, for systems that read a text together with each picture.
PLAIN = ("a photo of a {}.",)

#: MKT's template.
SCENE = ("There is a {} in the scene",)


def sentences(name: str, templates: tuple[str, ...] = ENSEMBLE) -> list[str]:
    """Fill a name into every template, with blanks for underscores and "or" for slashes, as in RAM."""
    text = name.replace("_", " ").replace("/", " or ").strip()
    return [template.format(text) for template in templates]
