"""Recognition: tags, captions, matches and heat maps of pictures, from a model and a backend."""
