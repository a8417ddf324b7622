"""The APIs that clients speak: which paths they have, what is read of their requests, how their errors are written."""
