"""What runs a model: one file per runtime, all with the same few calls."""
