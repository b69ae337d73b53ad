"""Lines of code of a folder: without docstrings, comments and blank lines, as they stand after ``ruff format``.

Usage: python benchmarks/lines_of_code.py [FOLDER ...]   (default: lazypyr)
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

_EMPTY = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}


def docstring_lines(tree: ast.AST) -> set[int]:
    """Numbers of the lines that strings standing alone as statements take."""
    alone = (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    )
    return {line for node in alone for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def code_lines(source: str) -> int:
    """Number of lines of a module that hold code."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    held = {
        line
        for token in tokens
        if token.type not in _EMPTY and token.type != tokenize.ENDMARKER
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(held - docstring_lines(ast.parse(source)))


def main() -> None:
    """Print the lines of code of each subpackage, and their sum."""
    total = 0
    for folder in sys.argv[1:] or ["lazypyr"]:
        root = Path(folder)
        parts: Counter[str] = Counter()
        for path in sorted(root.rglob("*.py")):
            if "data" not in path.parts:
                inside = path.relative_to(root).parts
                parts[inside[0] if len(inside) > 1 else "."] += code_lines(path.read_text(encoding="utf-8"))
        for name, lines in parts.most_common():
            print(f"{lines:7,} {root / name}")
        total += sum(parts.values())
    print(f"{total:7,} in all")


if __name__ == "__main__":
    main()
