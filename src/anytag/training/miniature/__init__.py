"""The papers' paradigms in miniature: each trained on as many pictures, of the same cached features."""
