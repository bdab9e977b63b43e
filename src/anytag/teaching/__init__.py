"""Teaching a model a user's own tags, in seconds and without PyTorch."""
