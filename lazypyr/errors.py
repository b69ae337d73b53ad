"""Errors of lazypyr: one short tree, each also a builtin.

::

    LazypyrError(Exception)
    ├── PlanError(ValueError)       what was asked for can't be a pyramid: said at opening, before any pixel is read
    │   └── MissingExtra(ImportError)   a feature needs an optional package
    ├── SourceError(OSError)        the data underneath could not be read or decoded
    ├── ComputeError(RuntimeError)  a reducer or product failed, or gave something else than it declared
    ├── BusyError(TimeoutError)     no place for the work within the time allowed; try again
    └── DestinationError(OSError)   what was to be kept could not be written

A chunk that is absent in its source is no error (it reads as the fill value); one that *failed* to read always is.
"""

from __future__ import annotations

import sys

from lazypyr._names import forget_secrets, without_secrets

__all__ = [
    "BusyError",
    "ComputeError",
    "DestinationError",
    "LazypyrError",
    "MissingExtra",
    "PlanError",
    "SourceError",
]


class LazypyrError(Exception):
    """Base of every error that lazypyr raises on purpose. URLs in its message have no passwords and signatures.

    Parameters
    ----------
    *args : object
        Text of the error.

    Examples
    --------
    >>> issubclass(SourceError, LazypyrError)
    True
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(without_secrets(arg) if isinstance(arg, str) else arg for arg in args))
        # What is being handled is shown with this one.
        forget_secrets(sys.exception())


class PlanError(LazypyrError, ValueError):
    """Bad input, found before any pixel is read.

    Parameters
    ----------
    *args : object
        Text of the error.

    Examples
    --------
    >>> import lazypyr
    >>> lazypyr.open_pyramid("no/such/folder")
    Traceback (most recent call last):
    lazypyr.errors.PlanError: no such file or folder: no/such/folder
    """


class MissingExtra(PlanError, ImportError):
    """A package that a feature needs is not installed; the message has the pip line.

    Parameters
    ----------
    feature : str
        Subject of the message, such as "lazypyr.plot".
    package : str
        Name of the package.
    extra : str
        Extra of lazypyr that brings it.

    Examples
    --------
    >>> str(MissingExtra("lazypyr.plot", "bokeh", "plot"))
    "lazypyr.plot needs bokeh: pip install 'lazypyr[plot]'"
    """

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(f"{feature} needs {package}: pip install 'lazypyr[{extra}]'")
        self.feature, self.package, self.extra = feature, package, extra

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.feature, self.package, self.extra)


class _Located(LazypyrError):
    """Error that knows where it happened; its subclasses explain `key`, `level` and `window`."""

    def __init__(
        self,
        message: str,
        *,
        key: str | None = None,
        level: int | None = None,
        window: tuple[tuple[int, int], ...] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.key, self.level, self.window = without_secrets(message), key, level, window

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.key, self.level, self.window)


def _rebuild(cls: type[_Located], message: str, key: str | None, level: int | None, window: object) -> _Located:
    return cls(message, key=key, level=level, window=window)  # type: ignore[arg-type]


class SourceError(_Located, OSError):
    """The data underneath could not be read or decoded. Nothing of it is cached; the next read tries again.

    Parameters
    ----------
    message : str
        Text of the error.
    key : str, optional
        Key of the source's store.
    level : int, optional
        Level of the pyramid at which it happened.
    window : tuple[tuple[int, int], ...], optional
        Half-open pixel ranges, one an axis, at that level.

    Examples
    --------
    >>> SourceError("chunk is damaged", key="c/0/1").key
    'c/0/1'
    """


class ComputeError(_Located, RuntimeError):
    """A reducer or product raised, or returned another shape or dtype than it declared.

    Parameters
    ----------
    message : str
        Text of the error.
    key : str, optional
        Name of the reducer or product.
    level : int, optional
        Level that was computed.
    window : tuple[tuple[int, int], ...], optional
        Pixels of it that were computed: half-open ranges, one an axis.

    Examples
    --------
    >>> ComputeError("product 'f' failed", key="f", level=0).level
    0
    """


class BusyError(LazypyrError, TimeoutError):
    """The memory limit or a deadline refused the work; the same request may succeed later.

    Parameters
    ----------
    *args : object
        Text of the error.

    Examples
    --------
    >>> issubclass(BusyError, TimeoutError)
    True
    """


class DestinationError(LazypyrError, OSError):
    """Levels or chunks could not be written; what was there before is unchanged.

    Parameters
    ----------
    *args : object
        Text of the error.

    Examples
    --------
    >>> issubclass(DestinationError, OSError)
    True
    """
