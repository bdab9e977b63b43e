"""Fit the evidence of a model: further predictors of tags, and their weights beside the recognition decoder."""
