"""What TCAN puts into ComfyUI's UNet and ControlNet for the length of a call."""
