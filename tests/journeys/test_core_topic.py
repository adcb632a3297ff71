"""A core that has Kafka writes to `corebanking.events`: CloudEvents in either mode of the Kafka binding, any key."""

from typing import Any

import msgspec
import pytest

from shared.events.corebanking import TOPIC, CoreBankingEvent
from shared.ids import new_id
from shared.messaging.records import Outgoing
from tests.journeys.conftest import Bank, eventually
from tests.journeys.test_alert import Customer

SOURCE = "core-topic"


def binary(event: CoreBankingEvent) -> Outgoing:
    headers = {"ce_specversion": "1.0", "ce_id": str(new_id()), "ce_source": SOURCE, "ce_type": event.TYPE}
    return Outgoing(TOPIC, b"any", msgspec.json.encode(event), tuple((k, v.encode()) for k, v in headers.items()))


def structured(event: CoreBankingEvent) -> Outgoing:
    attributes = {"specversion": "1.0", "id": str(new_id()), "source": SOURCE, "type": event.TYPE}
    value = msgspec.json.encode({**attributes, "data": event})
    return Outgoing(TOPIC, b"other", value, (("content-type", b"application/cloudevents+json"),))


async def test_events_of_the_topic_count_as_those_sent_by_http(bank: Bank) -> None:
    if bank.publisher is None:
        pytest.skip("the broker behind a gateway is not reached from outside")
    customer = Customer()
    who, which, paid = customer.arrives()
    broken = Outgoing(TOPIC, b"", b"{", ())
    await bank.publisher.send([structured(paid), broken, binary(which), structured(who), binary(paid)])
    async with bank.http("head_office", staff_id="JHO") as http:

        async def counted() -> Any:
            found = await http.post("/api/customer/v1/customers/search", json={"query": customer.number})
            for item in found.json()["items"]:
                accounts = await http.get(f"/api/customer/v1/customers/{item['customer_id']}/accounts")
                return [a for a in accounts.json()["items"] if a["transaction_count"]]
            return None

        (account,) = await eventually(counted)
    assert account["transaction_count"] == 1
    assert account["balance"] == {"amount_minor": 5_000_000, "currency": "CNY"}
