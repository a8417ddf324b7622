"""What all Envoys and workers of the installation have and say, whichever replica of the operator they speak with."""
