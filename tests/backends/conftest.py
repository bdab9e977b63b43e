from fixtures_exported import exported  # noqa: F401
