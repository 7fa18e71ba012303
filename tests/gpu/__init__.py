"""The suite for a machine with an NVIDIA card."""
