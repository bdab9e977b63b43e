"""Texts into ids, and back."""
