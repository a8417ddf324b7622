"""What people see of their objects: from verdicts to conditions and Events, and the only writers to Kubernetes."""
