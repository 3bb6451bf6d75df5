"""Says that a program is being compiled, which can take minutes without a word."""

import logging
import time
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)


def announced(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Logs a line before and after the first call of a compiled function.

    Args:
      function: compiles when it is first called.
      name: what it is, for the lines.

    Returns:
      A function that does the same.
    """
    calls = 0

    def call(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1:
            return function(*arguments)
        log.info(
            "compiling %s: seconds for small models, minutes for large ones on a CPU …",
            name,
        )
        started = time.monotonic()
        result = function(*arguments)
        log.info("compiled in %.1f s", time.monotonic() - started)
        return result

    return call
