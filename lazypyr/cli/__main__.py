"""``python -m lazypyr.cli`` is the ``lazypyr`` command."""

import sys

from lazypyr.cli import main

if __name__ == "__main__":
    sys.exit(main())
