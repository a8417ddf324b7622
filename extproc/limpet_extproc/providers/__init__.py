"""The states of the providers, as this worker and its siblings have seen them."""
