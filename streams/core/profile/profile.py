"""What is known of one customer: plain data, moved by the rules in `customer` and packed by `packing`."""

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
from streams.core.model.tracks import TrackState
from streams.core.model.triggers import TriggerBook


@mypyc_attr(acyclic=True)  # the garbage collector need not know of it
@dataclass(init=False, eq=True)
class Profile:
    """One customer. `stage` is None before the first event and after forgetting (then `sequence` is not 0).

    Or an alias, which is in no stage.
    """

    # Attributes lie in memory in this order. Those that every event touches come first: with many customers, an event
    # costs what it takes to fetch a few lines of memory.
    stage: str | None
    identified: bool
    dirty: bool
    """Kept by the state, and not packed: it has changed since it was last written."""
    armed: bool
    """Step 1 has not come due since the last activity."""
    sequence: int
    applied_clicks: int
    applied_orders: int
    """The last offset applied of each source; -1: none. See `applied`."""
    first_seen_at: int
    """Times are ms."""
    last_seen_at: int
    erased_at: int
    """Events up to this time are passed over, since what was known before was erased on request; -1: it never was."""
    active_at: int
    """See `last_activity_at`; -1: never."""
    next_deadline: int | None
    """When the earliest deadline is due; kept right by `Lifecycle`."""
    session_id: str | None
    session_id_at: int
    weight: int
    """An upper bound of its packed size in bytes, as of the last time it was measured and what came since."""
    latest: OpenAbandonment | None
    episode: Episode | None
    cart: Cart
    sessions: Sessions
    type_counts: dict[str, int]
    """Events applied, of each type that the playbook counts."""
    event_tags: bytearray
    """See `recent_ids`. Follows from `event_ids`, and is not packed."""
    event_ids: bytearray
    """See `recent_ids`."""
    product_views: int
    entered_at: int
    """When the stage was entered."""
    pending: list[Pending]
    """Outputs of deadlines, and what is passed on, kept until they are known to be sent."""
    currency: str | None
    """Of the first completed order; None: there was none yet, counted or not."""
    orders: int
    """Distinct completed orders that count."""
    orders_in_stage: int
    last_order_at: int | None
    """The latest order that counts."""

    tracks: list[TrackState] | None
    """The places in the tracks beside the lifecycle, in the playbook's order; None if it has none."""
    playbook_tag: int
    """Of the playbook that it was last worked on under; see `Playbook.tag`."""
    rules_due: int | None
    """When time alone may change a rule, ms, as of the last event or deadline; None: never."""

    customer: str
    commit: int
    """The number of the commit that last wrote it."""
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
    """The latest order that counted when it was dropped from the book."""
    first_dropped_at: int | None
    """The earliest order that was dropped from the book, counted or not."""
    order_book: dict[str, Order]
    """The newest completed orders, in order of application."""
    order_notes: dict[str, list[Correction]]
    """What came for orders that are not completed yet."""
    playbook_version: int
    recent_steps: list[int]
    """Step-1 times of the abandonments in the recent window."""
    facts: Aggregates | None
    """What the playbook's rules ask for beside all this; None if they do not."""
    triggers: TriggerBook | None
    """None if the playbook has none."""
    applied_forwarded: int
    """The highest offset of the activity topic at which something applied was read; -1: none. They are not applied in
    the order of that topic, so it does not tell what was applied: `of_origins` does."""
    of_upstreams: dict[int, int] | None
    """Of each origin the last offset applied, as far as `StoredUpstream.taken` may not tell yet."""
    offset_gaps: dict[int, set[int]] | None
    """Offsets below the last ones applied that are not applied yet: see `streams.core.event_time.offset_gaps`. None:
    there are none."""

    alias: Alias | None
    """Of an id that is no customer's: whose it is. Then there is no more than that, and what waits for the commit."""

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
        self.orders_in_stage = 0
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
        self.armed = False
        self.latest = None
        self.recent_steps = []
        self.of_upstreams = self.offset_gaps = None
        self.alias = None
        self.weight = 0
        self.type_counts = {}
        self.facts = None
        self.triggers = None
        self.event_tags = bytearray()
        self.tracks = None
        self.rules_due = None
        self.playbook_version = self.playbook_tag = 0

    # Lists and numbers that may be None are objects of their own, each a line of memory to fetch. So what every event
    # moves is kept as plain numbers.

    def last_applied(self, rank: int) -> int:
        """The last offset applied of the source of this rank; -1: none."""
        return self.applied_orders if rank else self.applied_clicks

    def note_forwarded(self, origin: int, offset: int, read_at: int) -> None:
        """An offset of an origin was applied, which was read at an offset of the activity topic."""
        if self.of_upstreams is None:
            self.of_upstreams = {}
        if offset > self.of_upstreams.get(origin, -1):
            self.of_upstreams[origin] = offset
        self.applied_forwarded = max(self.applied_forwarded, read_at)

    def note_applied(self, rank: int, offset: int) -> None:
        """An offset of the source of this rank was applied."""
        if rank:
            if offset > self.applied_orders:
                self.applied_orders = offset
        elif offset > self.applied_clicks:
            self.applied_clicks = offset

    @property
    def applied(self) -> list[int]:
        """Per source, the last offset applied; -1: none; and `applied_forwarded`, if there is any. Packed into the
        header, with `identified`, `stage`, `commit` and `next_deadline`."""
        if self.applied_forwarded < 0:
            return [self.applied_clicks, self.applied_orders]
        return [self.applied_clicks, self.applied_orders, self.applied_forwarded]

    @applied.setter
    def applied(self, offsets: list[int]) -> None:
        self.applied_clicks, self.applied_orders = offsets[:2]
        self.applied_forwarded = offsets[2] if len(offsets) > 2 else -1

    @property
    def last_activity_at(self) -> int | None:
        """None if there was none yet."""
        return None if self.active_at < 0 else self.active_at

    @last_activity_at.setter
    def last_activity_at(self, at: int | None) -> None:
        self.active_at = -1 if at is None else at

    def places(self) -> tuple[tuple[str, str], ...]:
        """Tracks beside the lifecycle, and its stage in each."""
        if self.tracks is None:
            return ()
        return tuple([(state.track, state.stage) for state in self.tracks if state.stage is not None])

    def note_withheld(self, abandonment_id: str, withheld: bool) -> None:
        """The engine decided whether step 1 of the latest abandonment leaves."""
        if self.latest is not None and self.latest.id == abandonment_id:
            self.latest.withheld = withheld

    def is_withheld(self, abandonment_id: str) -> bool:
        """Whether step 1 of this abandonment was withheld, so that what follows from it is withheld too."""
        return self.latest is not None and self.latest.id == abandonment_id and self.latest.withheld
