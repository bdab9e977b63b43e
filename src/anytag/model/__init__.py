"""A model on disk: its typed config, its directory, its vocabulary, and the sizes of the official families."""
