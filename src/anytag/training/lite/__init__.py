"""What training the shipped family is made of: cached features, its losses, its stages, and the run."""
