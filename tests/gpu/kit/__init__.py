"""`python dev.py python -m tests.gpu.kit OUT`: a folder that runs the GPU suite on a machine without a network."""
