"""Captions into tags: words, their parts of speech, and the rules that make tags of them."""
