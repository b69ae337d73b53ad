"""Request counts, latencies and memory of a server, as JSON and in Prometheus' text format."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from lazypyr.engine.engine import Engine
from lazypyr.sources.base import counters
from lazypyr.sources.far.requests import all_stats

__all__ = ["Stats"]

_RECENT_REQUESTS = 4096
_QUANTILES = (0.5, 0.9, 0.99)


class Stats:
    """Counters of one process. Only the event loop changes them, so there is no lock.

    Attributes
    ----------
    requests : Counter[int]
        By status; 499 where the client had disconnected.
    sent_bytes : int
        Bytes of bodies.
    open_bytes : int
        Bytes of bodies that are being sent.
    """

    def __init__(self) -> None:
        self.started = time.time()
        self.requests: Counter[int] = Counter()
        self.sent_bytes = 0
        self.open_bytes = 0
        self._seconds: deque[float] = deque(maxlen=_RECENT_REQUESTS)

    def count(self, status: int, n_bytes: int, seconds: float) -> None:
        """Count a response: its status, the bytes of its body, and the time from request to end."""
        self.requests[status] += 1
        self.sent_bytes += n_bytes
        self._seconds.append(seconds)

    def latency(self) -> dict[str, float]:
        """Quantiles of the last requests, in seconds."""
        ordered = sorted(self._seconds)
        return {f"{q:g}": ordered[int(q * (len(ordered) - 1))] if ordered else 0.0 for q in _QUANTILES}

    def document(self, engines: Mapping[str, Engine]) -> dict[str, Any]:
        """The JSON document of ``/stats``."""
        return {
            "pid": os.getpid(),
            "uptime_s": round(time.time() - self.started, 3),
            "requests": {str(status): n for status, n in sorted(self.requests.items())},
            "sent_bytes": self.sent_bytes,
            "open_bytes": self.open_bytes,
            "latency_s": self.latency(),
            "memory_bytes": _resident(),
            "absent_chunks": counters.absent_chunks,
            "far": all_stats().as_dict(),
            "sources": {
                name: {
                    **asdict(engine.cache_info()),
                    "inflight_bytes": engine.inflight_used,
                    "slow_lane": asdict(engine.slow_lane),
                }
                for name, engine in engines.items()
            },
        }

    def text(self, engines: Mapping[str, Engine]) -> str:
        """The text of ``/metrics``."""
        lines = ["# TYPE lazypyr_requests_total counter"]
        lines += [f'lazypyr_requests_total{{status="{status}"}} {n}' for status, n in sorted(self.requests.items())]
        lines += ["# TYPE lazypyr_request_seconds summary"]
        lines += [f'lazypyr_request_seconds{{quantile="{q}"}} {value:.6f}' for q, value in self.latency().items()]
        lines += [f"lazypyr_request_seconds_count {self.requests.total()}"]
        for name, kind, value in (
            ("sent_bytes_total", "counter", self.sent_bytes),
            ("open_bytes", "gauge", self.open_bytes),
            ("memory_bytes", "gauge", _resident()),
            ("absent_chunks_total", "counter", counters.absent_chunks),
            *_far_metrics(),
        ):
            lines += [f"# TYPE lazypyr_{name} {kind}", f"lazypyr_{name} {value}"]
        infos = {name: (engine.cache_info(), engine.inflight_used) for name, engine in engines.items()}
        for metric, kind, field in (
            ("cache_hits_total", "counter", "hits"),
            ("cache_misses_total", "counter", "misses"),
            ("computes_total", "counter", "computes"),
            ("cache_bytes", "gauge", "currsize"),
            ("cache_limit_bytes", "gauge", "maxsize"),
            ("computing", "gauge", "in_flight"),
        ):
            lines += [f"# TYPE lazypyr_{metric} {kind}"]
            lines += [f'lazypyr_{metric}{{source="{n}"}} {getattr(info, field)}' for n, (info, _) in infos.items()]
        lanes = {name: engine.slow_lane for name, engine in engines.items()}
        for field in ("running", "waiting", "read_bytes", "total_bytes"):
            lines += [f"# TYPE lazypyr_slow_{field} gauge"]
            lines += [f'lazypyr_slow_{field}{{source="{n}"}} {getattr(lane, field)}' for n, lane in lanes.items()]
        lines += ["# TYPE lazypyr_slow_total counter"]
        lines += [f'lazypyr_slow_total{{source="{n}"}} {lane.total}' for n, lane in lanes.items()]
        lines += ["# TYPE lazypyr_inflight_bytes gauge"]
        lines += [f'lazypyr_inflight_bytes{{source="{n}"}} {used}' for n, (_, used) in infos.items()]
        return "\n".join(lines) + "\n"


def _far_metrics() -> Iterator[tuple[str, str, float]]:
    """Requests to stores that are far, and open: their counts, and those that are on their way."""
    for name, value in all_stats().as_dict().items():
        gauge = name.endswith("in_flight")
        yield f"far_{name}" if gauge else f"far_{name}_total", "gauge" if gauge else "counter", value


def _resident() -> int:
    """Resident memory of this process in bytes; its peak where the system has no ``/proc``."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - no file, a question to the kernel
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
