"""The sample bank: generated from a seed, the same bytes for the same seed and day. See docs/feeds.md."""

from feeds.sample_bank.bank import (
    EXPECTED_LINES,
    Departure,
    later_lines,
    lines,
    look_alikes,
    truth,
)
from feeds.sample_bank.ledger import SOURCE
from feeds.sample_bank.live import keep_going
from feeds.sample_bank.staff import DEMO_BRANCH_HEAD_ID, DEMO_BRANCH_ID, DEMO_MANAGER_ID
from feeds.sample_bank.trickle import INTERVAL, number_at, trickle

DEFAULT_SEED = 1

__all__ = [
    "DEFAULT_SEED",
    "DEMO_BRANCH_HEAD_ID",
    "DEMO_BRANCH_ID",
    "DEMO_MANAGER_ID",
    "EXPECTED_LINES",
    "INTERVAL",
    "SOURCE",
    "Departure",
    "keep_going",
    "later_lines",
    "lines",
    "look_alikes",
    "number_at",
    "trickle",
    "truth",
]
