"""Runtimes for models: one module per runtime, with the same interface."""
