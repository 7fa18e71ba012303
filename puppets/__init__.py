"""The puppets: a drawn world, the small model that is trained on it, and its evaluation.

They use the engine; nothing in ``tcan_modules`` or ``nodes`` imports them, and users do not install them.
"""
