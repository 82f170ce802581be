"""The profile of one customer: plain data, changed by `streams.core.lifecycle` and packed by `codec`."""

from __future__ import annotations

from dataclasses import dataclass

from mypy_extensions import mypyc_attr

from streams.core.model.abandonment import Episode, OpenAbandonment
from streams.core.model.aggregates import Aggregates
from streams.core.model.alias import Alias
from streams.core.model.cart import Cart
from streams.core.model.orders import Correction, Order
from streams.core.model.outputs import Pending
from streams.core.model.sessions import Sessions
from streams.core.model.sources import InputId, Rank, UpstreamId
from streams.core.model.tracks import TrackState
from streams.core.model.triggers import TriggerBook


@mypyc_attr(acyclic=True)  # the garbage collector need not know of it
@dataclass(init=False, eq=True)
class Profile:
    """The state of one customer, or an alias, which is in no stage.

    `stage` is None before the first event, and after forgetting, when `sequence` is not 0.
    """

    # Attributes lie in memory in this order. Those that every event touches come first: with many customers, an event
    # costs as much as fetching a few lines of memory.
    stage: str | None
    identified: bool
    dirty: bool
    """True if it has changed since it was last written. Set by `TaskState`; not packed."""
    awaits_step1: bool
    """True if step 1 has not become due since the last activity."""
    sequence: int
    applied_clicks: int
    applied_orders: int
    """Last offset applied of each source; -1: none. See `applied`."""
    first_seen_at: int
    """Time of the earliest event. All times are in ms."""
    last_seen_at: int
    erased_at: int
    """Events up to this time are skipped, since the profile was erased on request; -1: it never was."""
    active_at: int
    """Time of the last activity; -1: there was none. See `last_activity_at`."""
    next_deadline: int | None
    """Time of the earliest deadline. `Lifecycle` keeps it right."""
    session_id: str | None
    session_id_at: int
    weight: int
    """Upper bound of the packed size in bytes: the size when it was last measured, and what was added since."""
    latest: OpenAbandonment | None
    episode: Episode | None
    cart: Cart
    sessions: Sessions
    type_counts: dict[str, int]
    """Number of events applied, by each type that the playbook counts."""
    event_tags: bytearray
    """See `recent_ids`. Derived from `event_ids`; not packed."""
    event_ids: bytearray
    """See `recent_ids`."""
    product_views: int
    entered_at: int
    """Time at which the stage was entered."""
    pending: list[Pending]
    """Outputs of deadlines and internal messages, kept until they are known to be sent."""
    currency: str | None
    """Currency of the first completed order, counted or not; None: there was none yet."""
    orders: int
    """Number of distinct completed orders that count."""
    orders_in_stage: int
    """Completions since the stage was entered that became the last order, without renewals."""
    renewals_in_stage: int
    """Such renewals."""
    last_order_at: int | None
    """Time of the latest order that counts."""

    tracks: list[TrackState] | None
    """States of the tracks other than the lifecycle, in the playbook's order; None if it has none."""
    playbook_tag: int
    """Tag of the playbook under which the profile last changed: see `Playbook.tag`."""
    rules_due: int | None
    """Next change time of the rules, as of the last event or deadline; None: time alone changes no rule."""

    customer: str
    commit: int
    """Number of the commit that last wrote the profile."""
    cycle: int
    subscribed: bool | None
    subscribed_at: int
    signed_up: bool
    checkouts: int
    reviews: int
    referrals: int
    revenue: int
    other_currency_orders: int
    dropped_order_at: int | None
    """Time of the latest order that counted when it was dropped from the order book."""
    first_dropped_at: int | None
    """Time of the earliest order that was dropped from the order book, counted or not."""
    order_book: dict[str, Order]
    """The newest orders, by their keys (`streams.core.model.order_keys`), in order of application."""
    order_notes: dict[str, list[Correction]]
    """Corrections of orders that are not completed yet, by the key that they named."""
    playbook_version: int
    recent_steps: list[int]
    """Times of step 1 of the abandonments in the recent window."""
    kind_since: int
    """Time of the newest passive event that gave the episode another kind: step 1 is not due before."""
    aggregates: Aggregates | None
    """Further values that the playbook's rules need; None if they need none."""
    triggers: TriggerBook | None
    """States of the triggers; None if the playbook has none."""
    applied_forwarded: int
    """Highest offset of the repartition topic at which something applied was read; -1: none. Records are not applied in
    the order of that topic, so this does not show which were applied: `of_upstreams` does."""
    of_upstreams: dict[UpstreamId, int] | None
    """Last offset applied by upstream partition, as far as `StoredUpstream.taken` may not show it yet."""
    offset_gaps: dict[InputId, set[int]] | None
    """Offsets before the last ones applied that are not applied yet; None: there are none. See
    `streams.core.event_time.offset_gaps`."""

    alias: Alias | None
    """Owners of an id that is no customer's. If it is set, the profile holds nothing of a customer: beside it, only the
    offsets, the next deadline, `erased_at` and `pending` are used."""

    def __init__(self, customer: str, identified: bool) -> None:
        self.customer, self.identified = customer, identified
        self.applied_clicks = self.applied_orders = self.applied_forwarded = -1
        self.commit = 0
        self.pending = []
        self.dirty = False
        self.next_deadline = None
        self.stage = None
        self.entered_at = 0
        self.sequence = 0
        self.cycle = 1
        self.orders_in_stage = self.renewals_in_stage = 0
        self.first_seen_at = 0
        self.last_seen_at = 0
        self.erased_at = -1
        self.active_at = -1
        self.event_ids = bytearray()
        self.sessions = Sessions()
        self.session_id = None
        self.session_id_at = 0
        self.subscribed = None
        self.subscribed_at = 0
        self.signed_up = False
        self.product_views = 0
        self.checkouts = 0
        self.reviews = 0
        self.referrals = 0
        self.orders = 0
        self.revenue = 0
        self.currency = None
        self.other_currency_orders = 0
        self.last_order_at = None
        self.dropped_order_at = None
        self.first_dropped_at = None
        self.order_book = {}
        self.order_notes = {}
        self.cart = Cart()
        self.episode = None
        self.awaits_step1 = False
        self.latest = None
        self.recent_steps = []
        self.kind_since = 0
        self.of_upstreams = self.offset_gaps = None
        self.alias = None
        self.weight = 0
        self.type_counts = {}
        self.aggregates = None
        self.triggers = None
        self.event_tags = bytearray()
        self.tracks = None
        self.rules_due = None
        self.playbook_version = self.playbook_tag = 0

    # Lists, and numbers that may be None, are objects of their own, each a line of memory to fetch. So the fields that
    # every event changes are plain numbers.

    def last_applied(self, rank: Rank) -> int:
        """Return the last offset applied of the source of this rank; -1 if none."""
        return self.applied_orders if rank else self.applied_clicks

    def note_forwarded(self, upstream: UpstreamId, offset: int, read_at: int) -> None:
        """Note that an offset of an upstream partition was applied. `read_at`: its offset in the repartition topic."""
        if self.of_upstreams is None:
            self.of_upstreams = {}
        if offset > self.of_upstreams.get(upstream, -1):
            self.of_upstreams[upstream] = offset
        self.applied_forwarded = max(self.applied_forwarded, read_at)

    def note_applied(self, rank: Rank, offset: int) -> None:
        """Note that an offset of the source of this rank was applied."""
        if rank:
            if offset > self.applied_orders:
                self.applied_orders = offset
        elif offset > self.applied_clicks:
            self.applied_clicks = offset

    @property
    def applied(self) -> list[int]:
        """Last offset applied of each source, -1 if none, and `applied_forwarded` if there is any.

        They are packed into the header, with `identified`, `stage`, `commit` and `next_deadline`.
        """
        if self.applied_forwarded < 0:
            return [self.applied_clicks, self.applied_orders]
        return [self.applied_clicks, self.applied_orders, self.applied_forwarded]

    @applied.setter
    def applied(self, offsets: list[int]) -> None:
        self.applied_clicks, self.applied_orders = offsets[:2]
        self.applied_forwarded = offsets[2] if len(offsets) > 2 else -1

    @property
    def last_activity_at(self) -> int | None:
        """Time of the last activity, None if there was none yet."""
        return None if self.active_at < 0 else self.active_at

    @last_activity_at.setter
    def last_activity_at(self, at: int | None) -> None:
        self.active_at = -1 if at is None else at

    def places(self) -> tuple[tuple[str, str], ...]:
        """Return the tracks other than the lifecycle that were entered, and the stage in each."""
        if self.tracks is None:
            return ()
        return tuple([(state.track, state.stage) for state in self.tracks if state.stage is not None])

    def note_withheld(self, abandonment_id: str, withheld: bool) -> None:
        """Note whether step 1 of an abandonment was withheld, if it is still the latest."""
        if self.latest is not None and self.latest.id == abandonment_id:
            self.latest.withheld = withheld

    def is_withheld(self, abandonment_id: str) -> bool:
        """Return True if step 1 of this abandonment was withheld, so that its later outputs are withheld too."""
        return self.latest is not None and self.latest.id == abandonment_id and self.latest.withheld
