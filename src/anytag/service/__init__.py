"""anytag over HTTP: a service for teams and programs, and a page for people (extra ``serve``)."""
