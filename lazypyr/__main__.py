"""``python -m lazypyr`` is the ``lazypyr`` command."""

import sys

from lazypyr.cli import main

if __name__ == "__main__":
    sys.exit(main())
