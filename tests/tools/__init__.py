"""Programs for developers, each run as `python dev.py python -m tests.tools.NAME`."""
