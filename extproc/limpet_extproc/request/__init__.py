"""A request from its bytes to the question that is decided: read, recognised, opened."""
