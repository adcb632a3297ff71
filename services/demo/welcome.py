"""What a person sees when the demo is up."""

from typing import Any

import httpx
from rich.console import Console
from sqlalchemy import text

from feeds.sample_bank import DEMO_BRANCH_HEAD_ID, DEMO_BRANCH_ID, DEMO_MANAGER_ID
from services.line import Line
from shared.auth.principal import Role

URGENT = 5


async def welcome(line: Line, console: Console) -> None:
    """Prints what is there, who is about to leave, and how to go on."""
    url = line.settings.public_url
    counts = await _counts(line)
    manager = line.issuer.mint(Role.MANAGER, staff_id=DEMO_MANAGER_ID, branch_id=DEMO_BRANCH_ID)
    head = line.issuer.mint(Role.BRANCH_HEAD, staff_id=DEMO_BRANCH_HEAD_ID, branch_id=DEMO_BRANCH_ID)

    def say(words: str = "") -> None:
        console.print(words, markup=False, highlight=False, soft_wrap=True)

    say()
    say(f"Branchline runs on {url}")
    say(
        f"{counts['customers']:,} customers, {counts['events']:,} events,"
        f" {counts['alerts']:,} alerts, {counts['open']:,} of them open."
    )
    say()
    say("Most urgent:")
    for alert in await _most_urgent(line):
        say(f"  customer {alert['customer_number']}, {alert['points']} points, since {alert['raised_on']}")
        for reason in alert["reasons"]:
            say(f"    {reason['points']:>3}  {reason['text']}")
    say()
    say(f"The APIs:    {url}/docs")
    say(f"The e-mails: {url}/demo/mails")
    say("Tokens for a day (`.venv/bin/branchline token --help` makes more):")
    say(f"  manager {DEMO_MANAGER_ID} of branch {DEMO_BRANCH_ID}:")
    say(f"    {manager}")
    say(f"  head of branch {DEMO_BRANCH_ID}:")
    say(f"    {head}")
    say()
    say("Try, in another terminal:")
    say(f"  curl -H 'Authorization: Bearer {manager}' '{url}/api/notification/v1/inbox?limit=3'")
    say(f"  curl -H 'Authorization: Bearer {manager}' '{url}/api/scoring/v1/customers?sort=-risk&limit=3'")
    say(f"  curl -N -H 'Authorization: Bearer {manager}' '{url}/api/notification/v1/inbox/stream'")
    say()
    say("New events keep coming. Ctrl-C stops; the next start goes on from here.")


async def _counts(line: Line) -> dict[str, int]:
    queries = {
        "customers": ("customer", "select count(*) from customer"),
        "events": ("customer", "select count(*) from received_event"),
        "alerts": ("scoring", "select count(*) from churn_alert"),
        "open": ("scoring", "select count(*) from churn_alert where closed_on is null"),
    }
    counts = {}
    for name, (service, query) in queries.items():
        async with line.databases[service].jobs.connect() as connection:
            counts[name] = int((await connection.execute(text(query))).scalar_one())
    return counts


async def _most_urgent(line: Line) -> list[dict[str, Any]]:
    """Open alerts of which somebody was told, the most points first; through the API, as head office sees it."""
    headers = {"Authorization": f"Bearer {line.issuer.mint(Role.HEAD_OFFICE, staff_id='HO')}"}
    transport = httpx.ASGITransport(app=line.apps["scoring"])
    async with httpx.AsyncClient(transport=transport, base_url=line.settings.public_url, headers=headers) as client:
        answer = await client.get(
            "/api/scoring/v1/alerts",
            params={"state": "open", "is_historic": "false", "sort": "-points", "limit": URGENT},
        )
    answer.raise_for_status()
    items: list[dict[str, Any]] = answer.json()["items"]
    return items
