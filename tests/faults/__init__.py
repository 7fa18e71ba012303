"""Runs that are cancelled, killed or run out of memory."""
