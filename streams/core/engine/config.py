"""The configuration of an engine, and the content of the last commit, which a task passes to its engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from streams.core.model.event import Source
from streams.core.model.outputs import EmissionPolicy
from streams.core.model.sources import SourceSpec, StoredProgress, StoredRepartition
from streams.core.processing.budget import UNLIMITED, Budget


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs and the behaviour of an engine. The default is the engine of a group with one partition."""

    partition: int = -1
    """Number of the partition; -1 where there is one only."""
    own: Collection[Source] = tuple(Source)
    """The sources whose partition of that number the task reads itself. Others come by upstream partitions alone."""
    sources: Mapping[Source, SourceSpec] = {}
    upstreams: Collection[tuple[Source, int]] = ()
    """The partitions of sources from which other tasks forward records to this one."""
    tasks: int = 0
    """Number of tasks that send internal messages, this one among them; 0: without identity resolution."""
    event_time_ordering: bool = False
    """True: no event is applied before everything earlier must have come, unless it is late."""
    emission: EmissionPolicy = EmissionPolicy()
    budget: Budget = UNLIMITED
    """Bound of one call. With a bound, a call may leave work undone (`PartitionEngine.unfinished`), and work may have
    to wait for a commit (`PartitionEngine.full`): the caller checks both after each call."""


class LastCommit(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the last commit of a task. The default is that of a new task."""

    commit: int = 0
    """Number of the last commit, by the offset metadata."""
    flushed: int = 0
    """Number of the last flush that is complete in the changelog."""
    positions: Mapping[Source, int] = {}
    """Offsets at which reading of own sources starts."""
    progress: Mapping[Source, StoredProgress] = {}
    repartition: StoredRepartition | None = None
    """Upstream partitions and numbers of internal messages, with the offset at which reading of the repartition topic
    starts."""
    erasures: int = 0
    """Offset at which reading of the topic of erasure requests starts."""
