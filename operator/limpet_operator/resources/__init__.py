"""One module a kind: an object as written becomes a typed value or a list of problems."""
