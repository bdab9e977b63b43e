"""A tag of each kind, to be described."""

from anytag.language.parsing.rules import ParsedTag

OWL, BEACH, RED, RUN = (
    ParsedTag("owl", "object"),
    ParsedTag("beach", "scene"),
    ParsedTag("red", "attribute"),
    ParsedTag("run", "action"),
)
