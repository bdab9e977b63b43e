"""Knowledge about tags: kinds, synonyms, implications, vocabularies."""
