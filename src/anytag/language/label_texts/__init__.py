"""Tags as texts to embed: prompts, descriptions, and the embeddings that are kept."""
