"""Reading of a worker's /metrics, as a monitoring system would do it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import aiohttp

_SAMPLE: Final = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Scrape:
    """The samples of one scrape, in Prometheus' text format."""

    def __init__(self, text: str) -> None:
        self._samples = [
            (match[1], dict(_LABEL.findall(match[2] or "")), float(match[3])) for match in _SAMPLE.finditer(text)
        ]

    def values(self, name: str, **labels: str) -> Iterator[float]:
        """Yield the value of each series with that name and those labels."""
        for sample, found, value in self._samples:
            if sample == name and labels.items() <= found.items():
                yield value

    def total(self, name: str, **labels: str) -> int:
        """Return the sum of `values`, as an integer."""
        return int(sum(self.values(name, **labels)))


async def scrape(session: aiohttp.ClientSession, url: str) -> Scrape | None:
    """Return a scrape of the worker at `url`, None if it does not answer."""
    try:
        async with session.get(f"{url}/metrics", timeout=aiohttp.ClientTimeout(total=5)) as response:
            return Scrape(await response.text()) if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError):
        return None
