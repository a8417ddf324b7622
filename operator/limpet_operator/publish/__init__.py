"""A plan becomes Envoy resources and the catalog, a module each."""
