"""Where the time of a run goes."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator


class Stopwatch:
    """Seconds by phase. Of phases inside of another, only the inner one counts."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start, inner = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        finally:
            counted = sum(self.seconds.values()) - inner
            self.seconds[name] += time.perf_counter() - start - counted

    def per_row(self, rows: int) -> str:
        """In milliseconds, the longest first."""
        longest = sorted(self.seconds.items(), key=lambda item: -item[1])
        parts = [f"{name} {1e3 * seconds / rows:.1f}" for name, seconds in longest]
        return f"{1e3 * sum(self.seconds.values()) / rows:.1f} ms ({', '.join(parts)})"
