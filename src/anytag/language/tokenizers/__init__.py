"""Tokenizers for captions and tag lists."""
