"""``python -m tcan_modules.training stage1 …`` and ``stage2 …``."""

from .command import main

if __name__ == "__main__":
    main()
