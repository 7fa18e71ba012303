"""The networks of a checkpoint as ComfyUI models."""
