"""What users see of their objects: conditions and Events, and the only writers to the Kubernetes API."""
