"""Language: captions to tags, vocabularies, tokenizers, and texts about labels."""
