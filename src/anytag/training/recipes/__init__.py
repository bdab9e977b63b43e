"""Recipes of training runs: their configs, and how to load them."""
