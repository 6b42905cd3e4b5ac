"""`python -m simgpu` is the command line."""

import sys

from simgpu.cli import main

if __name__ == "__main__":
    sys.exit(main())
