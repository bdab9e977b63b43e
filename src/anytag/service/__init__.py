"""The HTTP service for teams and programs, with a web page (extra ``serve``)."""
