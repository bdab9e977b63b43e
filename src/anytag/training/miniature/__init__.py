"""The papers' paradigms in miniature: trained on equally many pictures with the same cached features."""
