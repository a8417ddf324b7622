"""A service mesh's view of the Providers: objects in, Kubernetes objects of the mesh out; and the command for them."""
