"""Verifies a service's chains: every row against its MAC and the row before, every end against a checkpoint."""

import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg

from shared.audit.checkpoints import Checkpoint, ForgedCheckpoint, check_signature
from shared.audit.records import COLUMNS, ChainOpening, Row, canonical, opening_mac, row_mac
from shared.keyring import AuditKeys

FETCH = 2_000
"""Rows at a time."""


@dataclass(frozen=True)
class Fault:
    """What is wrong, and where. `at` is what the row says, or the last row before what is not there."""

    code: str
    chain_id: UUID | None
    sequence: int | None
    at: datetime | None
    detail: str


@dataclass
class Verified:
    """What was looked at, and what is wrong with it."""

    service: str
    chains: int = 0
    rows: int = 0
    open_chains: int = 0
    """Chains without a closing row and in no checkpoint: their process runs or was killed, and rows that were cut off
    their end are not missed."""
    faults: list[Fault] = field(default_factory=list)


@dataclass
class _Chain:
    opening: ChainOpening
    key: bytes | None
    mac: bytes
    sequence: int = 0
    at: datetime | None = None
    closed: bool = False


_ROWS = f"select {', '.join(COLUMNS)}, mac from audit_record order by chain_id, sequence, at"  # noqa: S608 - our names
_POSITION = re.compile(r"chain/([0-9a-f-]{36})/([1-9][0-9]{0,17})/([0-9a-f]{64})")
_ANCHORS = """
    select operation, resource, at from audit_record
    where operation in ('audit.checkpoint', 'audit.dropped', 'audit.open') and resource like 'chain/%'
"""


async def verify_service(url: str, service: str, keys: AuditKeys, checkpoints: Iterable[Checkpoint] = ()) -> Verified:
    """Reads everything once, in the order of the chains; `url` is the owner's. Raises psycopg's errors."""
    verified = Verified(service)
    async with await psycopg.AsyncConnection.connect(
        url, options="-c timezone=UTC -c default_transaction_isolation=repeatable\\ read"
    ) as connection:
        anchors = _Anchors(await (await connection.execute(_ANCHORS)).fetchall())
        for checkpoint in checkpoints:
            anchors.add(verified, keys, service, checkpoint)
        chains = await _chains(connection, verified, service, keys)
        checker = _Checker(verified, chains, anchors)
        async with connection.cursor(name="audit", binary=True) as cursor:
            cursor.itersize = FETCH
            await cursor.execute(_ROWS)
            while rows := await cursor.fetchmany(FETCH):
                for row in rows:
                    checker.check(row)
        checker.finish()
    return verified


class _Anchors:
    """What is known of chains from outside of them: ends that they had once, and parts that were dropped."""

    def __init__(self, rows: Sequence[tuple[Any, ...]]) -> None:
        self.ends: dict[UUID, dict[int, tuple[bytes, datetime]]] = {}
        self.dropped: dict[UUID, tuple[int, bytes]] = {}
        for operation, resource, at in rows:
            named = _POSITION.fullmatch(resource)
            if named is None:
                continue  # the row is of its own making, and is found out where it stands
            chain_id, sequence, mac = UUID(named[1]), int(named[2]), bytes.fromhex(named[3])
            if operation == "audit.dropped":
                self.dropped[chain_id] = max(self.dropped.get(chain_id, (0, b"")), (sequence, mac))
            else:
                self.ends.setdefault(chain_id, {})[sequence] = (mac, at)

    def add(self, verified: Verified, keys: AuditKeys, service: str, checkpoint: Checkpoint) -> None:
        try:
            check_signature(keys, checkpoint)
            if checkpoint.service != service:
                raise ForgedCheckpoint
        except ForgedCheckpoint:
            fault = Fault(
                "forged_checkpoint", None, None, checkpoint.at, "the checkpoint is not signed by a key of ours"
            )
            verified.faults.append(fault)
            return
        for head in checkpoint.chains:
            self.ends.setdefault(head.chain_id, {})[head.sequence] = (bytes.fromhex(head.mac), head.at)


async def _chains(
    connection: psycopg.AsyncConnection[tuple[Any, ...]], verified: Verified, service: str, keys: AuditKeys
) -> dict[UUID, _Chain]:
    found = await connection.execute("select chain_id, key_id, process, started_at, mac from audit_chain")
    chains = {}
    for chain_id, key_id, process, started_at, mac in await found.fetchall():
        opening = ChainOpening(
            service=service, chain_id=chain_id, key_id=key_id, process=process, started_at=started_at.astimezone(UTC)
        )
        key = keys.keys.get(key_id)
        if key is None:
            verified.faults.append(Fault("unknown_key", chain_id, None, started_at, f"no key has the id {key_id}"))
        elif not hmac.compare_digest(opening_mac(key, opening), mac):
            detail = "the chain's opening is forged or was changed"
            verified.faults.append(Fault("altered_chain", chain_id, None, started_at, detail))
        chains[chain_id] = _Chain(opening, key, mac)
    verified.chains = len(chains)
    return chains


class _Checker:
    def __init__(self, verified: Verified, chains: dict[UUID, _Chain], anchors: _Anchors) -> None:
        self.verified = verified
        self.chains = chains
        self.anchors = anchors
        self.unknown: set[UUID] = set()
        self.seen_ends: dict[UUID, set[int]] = {}
        for chain_id, (sequence, mac) in anchors.dropped.items():
            if chain := chains.get(chain_id):
                chain.sequence, chain.mac = sequence, mac

    def check(self, columns: tuple[Any, ...]) -> None:
        self.verified.rows += 1
        chain_id, sequence, at, *_ = columns
        chain = self.chains.get(chain_id)
        if chain is None:
            if chain_id not in self.unknown:
                self.unknown.add(chain_id)
                self._fault("unknown_chain", chain_id, sequence, at, "rows of a chain that was never begun here")
            return
        mac = columns[-1]
        if sequence != chain.sequence + 1:
            self._gap(chain, sequence, at)
            trusted = False  # the MAC before it is not there
        else:
            trusted = True
        if chain.at is not None and at <= chain.at:
            self._fault("altered", chain_id, sequence, at, "it is not younger than the row before it")
        if chain.key is not None and trusted:
            signed = canonical(Row(*columns[:-1]))
            if not hmac.compare_digest(row_mac(chain.key, chain.mac, signed), mac):
                self._fault("altered", chain_id, sequence, at, "the row was changed, moved or put here")
        end = self.anchors.ends.get(chain_id, {}).pop(sequence, None)
        if end is not None and not hmac.compare_digest(end[0], mac):
            self._fault("rewritten", chain_id, sequence, at, "a checkpoint knows another row here")
        chain.sequence, chain.at, chain.mac = sequence, at, mac
        chain.closed = columns[6] == "audit.close"

    def _gap(self, chain: _Chain, sequence: int, at: datetime) -> None:
        if sequence <= chain.sequence:
            self._fault("inserted", chain.opening.chain_id, sequence, at, "there are two rows of this number")
            return
        first, last = chain.sequence + 1, sequence - 1
        what = f"row {first} is missing" if first == last else f"rows {first} to {last} are missing"
        self._fault("removed", chain.opening.chain_id, first, chain.at, what)

    def finish(self) -> None:
        """Compares what is there with what checkpoints say was there."""
        for chain_id, ends in self.anchors.ends.items():
            chain = self.chains.get(chain_id)
            dropped = self.anchors.dropped.get(chain_id, (0, b""))[0]
            beyond = {
                sequence: end
                for sequence, end in ends.items()
                if sequence > max(dropped, chain.sequence if chain else 0)
            }
            if not beyond:
                continue
            last = max(beyond)
            if chain is None:
                self._fault("removed_chain", chain_id, last, beyond[last][1], "a checkpoint knows this chain")
            else:
                detail = f"a checkpoint knows rows up to {last}; the chain ends with {chain.sequence}"
                self._fault("truncated", chain_id, chain.sequence + 1, chain.at or beyond[last][1], detail)
        for chain_id, chain in self.chains.items():
            if not chain.sequence:
                detail = "the chain has no rows, and every chain has a first one"
                self._fault("truncated", chain_id, 1, chain.opening.started_at, detail)
            elif not chain.closed and chain_id not in self.anchors.ends:
                self.verified.open_chains += 1

    def _fault(self, code: str, chain_id: UUID, sequence: int, at: datetime | None, detail: str) -> None:
        self.verified.faults.append(Fault(code, chain_id, sequence, at, detail))
