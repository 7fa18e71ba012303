"""The engine of the TCAN nodes (ECCV 2024, arXiv 2407.09012)."""
