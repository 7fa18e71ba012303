"""Weight files to named parts: reading, layouts, names. Never imports ComfyUI."""
