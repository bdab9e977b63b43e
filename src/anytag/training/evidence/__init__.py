"""Fitting what a model's other predictors say of tags, and how they are weighed against the recognition decoder."""
