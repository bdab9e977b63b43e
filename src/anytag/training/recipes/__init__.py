"""Recipes: what they return, and how they are loaded."""
