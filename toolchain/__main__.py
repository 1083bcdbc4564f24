"""``python -m toolchain``: the ``tessera`` command."""

import sys

from toolchain.cli import main

sys.exit(main())
