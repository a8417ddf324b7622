"""The side of the operator: the catalog that comes, and the evidence that goes."""
