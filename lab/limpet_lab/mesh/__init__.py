"""A sidecar as a mesh would configure it, without the mesh: for stories and measurements of what is ours of it."""
