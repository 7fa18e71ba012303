"""Formulas on tensors: torch, numpy and scipy alone, never ComfyUI and never a file."""
