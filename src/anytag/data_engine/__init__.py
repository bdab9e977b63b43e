"""RAM's data engine (Zhang et al., 2023, section 3.3): parse captions, generate captions and tags, clean, merge."""
