"""Training of the shipped family: cached features, losses, stages."""
