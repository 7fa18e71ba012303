"""Time, counted operations and peak memory of TCAN: `python dev.py python -m tests.benchmarks`."""
