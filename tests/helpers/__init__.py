"""What the tests stand on: ComfyUI in this process and as a server, its page in a browser, models, files and pictures."""
