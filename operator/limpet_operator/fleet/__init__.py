"""All Envoys and workers, whichever replica of the operator they are connected with."""
