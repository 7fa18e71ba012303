"""Helpers of tests: ComfyUI in this process, as a server and in a browser; models and files."""
