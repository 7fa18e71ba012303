"""A folder that runs the GPU suite on a machine without a network."""
