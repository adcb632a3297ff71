"""The bench on a tiny input: every contender still runs and is still right, and one that is not fails."""

from collections.abc import Sequence

import psycopg
import pytest

from bench.branchline import Branchline
from bench.check import NotExactlyOnce
from bench.contender import Contender, Setup
from bench.contenders import CONTENDERS
from bench.events import Rounds, run_rounds
from bench.input import PAYLOAD_BYTES, Posted, fold, generate, payload, place, up_to
from bench.servers import Servers
from shared.embedded_postgres import EmbeddedPostgres
from shared.events import decode
from shared.events.corebanking import TransactionPosted

EVENTS, CUSTOMERS, SEED = 400, 30, 11


@pytest.fixture(scope="module")
def servers(postgres: EmbeddedPostgres, kafka_bootstrap: str) -> Servers:
    return Servers(postgres, kafka_bootstrap)


def run(servers: Servers, contender: Contender) -> Rounds:
    return run_rounds(servers, [contender], events=EVENTS, rounds=1, customers=CUSTOMERS, seed=SEED)


@pytest.mark.kafka
@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda contender: contender.name)
def test_a_contender_comes_to_what_the_input_comes_to(servers: Servers, contender: Contender) -> None:
    (measured,) = run(servers, contender)
    assert measured[contender.name].events >= EVENTS * contender.share
    assert measured[contender.name].rate > 0


class Wrong(Branchline):
    """Branchline, and then something happens to its database."""

    def __init__(self, harm: str) -> None:
        super().__init__()
        self.harm = harm

    def check(self, setup: Setup, placed: Sequence[Sequence[Posted]]) -> None:
        with psycopg.connect(setup.database) as connection:
            assert connection.execute(self.harm.encode()).rowcount == 1, "nothing was harmed"
        super().check(setup, placed)


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("harm", "what"),
    [
        ("delete from posting where transaction_id = (select min(transaction_id) from posting)", "the ledger"),
        ("update daily_aggregate set debit_minor = debit_minor + 1 where (customer_id, day) ="
         " (select customer_id, day from daily_aggregate limit 1)", "the aggregates"),
        ("delete from outbox where id = (select min(id) from outbox)", "the outbox"),
        ("update consumer_offset set next_offset = next_offset - 20 where partition = 0", "the ledger"),
    ],
    ids=["lost", "miscounted", "untold", "offset behind"],
)  # fmt: skip # a harm a line
def test_a_contender_that_is_wrong_fails(servers: Servers, harm: str, what: str) -> None:
    with pytest.raises(NotExactlyOnce, match=what):
        run(servers, Wrong(harm))


def test_the_input_is_the_same_for_all() -> None:
    assert list(generate(SEED, EVENTS, CUSTOMERS, 4)) == list(generate(SEED, EVENTS, CUSTOMERS, 4))


def test_the_input_is_what_it_is_said_to_be() -> None:
    sent = list(generate(SEED, 20_000, 1_000, 4))
    assert {len(payload(each.posted)) for each in sent} == {PAYLOAD_BYTES}
    event = decode(TransactionPosted, payload(sent[0].posted))
    assert (event.account_id, event.amount_minor) == (sent[0].posted.account_id, sent[0].posted.amount_minor)
    doubles = len(sent) - len({each.posted.number for each in sent})
    same_event = len(sent) - len({each.event_id for each in sent})
    assert doubles == pytest.approx(0.05 * len(sent), rel=0.1)
    assert same_event == pytest.approx(doubles / 2, rel=0.15)


def test_the_fold_counts_a_transaction_once() -> None:
    placed = place(generate(SEED, EVENTS, CUSTOMERS, 4), 4)
    totals = fold(up_to(placed, dict.fromkeys(range(4), EVENTS)), CUSTOMERS)
    assert sum(count for count, _, _ in totals.values()) == len({p.number for events in placed for p in events})
    assert fold(up_to(placed, {}), CUSTOMERS) == {}
