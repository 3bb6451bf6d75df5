"""Entry point of ``python -m mldg_jax.cli``."""

import sys

from mldg_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
