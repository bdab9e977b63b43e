"""Fitting what a model's other witnesses say of tags, and how they are weighed against the recognition decoder."""
