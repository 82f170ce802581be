"""What a worker's /metrics say, read as a monitoring system would."""

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
        """Of every series of that name with those labels."""
        for sample, found, value in self._samples:
            if sample == name and labels.items() <= found.items():
                yield value

    def total(self, name: str, **labels: str) -> int:
        """Their sum, of what is counted."""
        return int(sum(self.values(name, **labels)))


async def scrape(session: aiohttp.ClientSession, url: str) -> Scrape | None:
    """None while nothing answers there."""
    try:
        async with session.get(f"{url}/metrics", timeout=aiohttp.ClientTimeout(total=5)) as response:
            return Scrape(await response.text()) if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError):
        return None
