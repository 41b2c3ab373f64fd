"""A finished run answered over HTTP: the search page and its API."""
