"""Sentences that categories stand in where a system compares pictures with texts."""

from __future__ import annotations

#: What a name is put into; the embeddings of all are averaged (Radford et al., 2021, section 3.1.4). Written for tags
#: of all kinds: things, scenes, qualities and doings.
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

#: BLIP's and the plainest; for systems that read a text together with each picture.
PLAIN = ("a photo of a {}.",)

#: MKT's.
SCENE = ("There is a {} in the scene",)


def sentences(name: str, templates: tuple[str, ...] = ENSEMBLE) -> list[str]:
    """A name in every template; blanks for underscores, and "or" for slashes, as RAM has it."""
    text = name.replace("_", " ").replace("/", " or ").strip()
    return [template.format(text) for template in templates]
