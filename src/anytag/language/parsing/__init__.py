"""Parse captions into tags: tokens, parts of speech, and rules."""
