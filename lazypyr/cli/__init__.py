"""The ``lazypyr`` command. Each module of this package that has `add_parser` is one of its commands.

Exit codes: 0 done, 1 an error, 2 bad arguments, 130 interrupted. Errors that lazypyr foresees are one line on stderr.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import lazypyr
from lazypyr.errors import LazypyrError

__all__ = ["main"]

# Order in the help; commands that aren't listed follow.
ORDER = ["info", "view", "serve", "materialize", "explain", "recipe", "demo"]


class _Parser(argparse.ArgumentParser):
    """Parser whose errors are one line that points to ``--help``."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lazypyr", description="Every Zarr array is already a pyramid.")
    parser.add_argument("--version", action="version", version=f"lazypyr {lazypyr.__version__}")
    commands: Any = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    for name in sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        command = importlib.import_module(f"{__name__}.{name}")
        command.add_parser(commands).set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code (argparse itself exits, with 0 or 2)."""
    args = _parser().parse_args(argv)
    try:
        code = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:
        # the reader of the output has gone; nothing may be written when the interpreter flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (LazypyrError, OSError) as error:
        return _complain(str(error), 1)
    return int(code or 0)


def _complain(message: str, code: int) -> int:
    print(f"lazypyr: {' '.join(message.split())}", file=sys.stderr)
    return code
