"""`limpet explain`: what Limpet would do with a request, and why."""
