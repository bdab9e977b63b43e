"""Whole photo libraries: batches that resume, and what they leave behind."""
