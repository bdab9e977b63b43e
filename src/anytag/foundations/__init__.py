"""Basics without knowledge of pictures or models: atomic files, HTTP, locks, processes, settings, log-odds."""
