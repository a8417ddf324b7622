"""How the providers are, as this worker and its siblings have seen it."""
