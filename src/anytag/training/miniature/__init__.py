"""The papers' paradigms in miniature: each trained on the same cached features for the same processor time."""
