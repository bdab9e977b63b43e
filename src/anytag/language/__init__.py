"""Words: captions into tags, tags into embeddings, ids into text."""
