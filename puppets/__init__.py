"""The puppets: a drawn world, the small model that is trained on it, and the model's evaluation.

It stands beside the engine and uses it; nothing in ``tcan_modules`` or ``nodes`` knows it, and users do not install it.
"""
