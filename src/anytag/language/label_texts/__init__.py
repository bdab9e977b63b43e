"""Texts about labels: prompts, descriptions, and a cache of their embeddings."""
