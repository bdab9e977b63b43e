"""A tag of each kind, to be described."""

from anytag.language.label_texts.description_templates import NamedTag

OWL, BEACH, RED, RUN = (
    NamedTag("owl", "object"),
    NamedTag("beach", "scene"),
    NamedTag("red", "attribute"),
    NamedTag("run", "action"),
)
