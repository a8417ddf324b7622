"""The side of the operator: the catalog that comes, the evidence that goes, and the health of providers both ways."""
