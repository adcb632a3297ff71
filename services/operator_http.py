"""What operators' commands need of HTTP: a client with their token, refusals in a line, patience with who is busy."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep
from typing import Annotated, Any

import httpx
import typer

from services.demo.tokens import TokenRefused, ask_for_token
from shared.settings import PlatformSettings

MOST_TRIES = 5

Url = Annotated[str | None, typer.Option(help="Where the services answer; by default the demo here.")]
Token = Annotated[
    str | None, typer.Option(envvar="BRANCHLINE_TOKEN", help="Of the role operator; by default one of the demo's.")
]


@contextmanager
def client(url: str | None, token: str | None) -> Iterator[httpx.Client]:
    where = url or PlatformSettings().public_url_of_demo
    try:
        bearer = token or ask_for_token(where, "operator", None, None, [])
        with httpx.Client(base_url=where, headers={"Authorization": f"Bearer {bearer}"}, timeout=60) as http:
            yield http
    except TokenRefused as refusal:
        raise refuse(str(refusal)) from None
    except httpx.HTTPError as fault:
        raise refuse(f"{where} does not answer ({type(fault).__name__}).") from None


def read_answer(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_success:
        body: dict[str, Any] = answer.json()
        return body
    try:
        problem = answer.json()
        reason = f"{problem['detail']} ({problem['code']})"
    except (ValueError, KeyError):
        reason = f"it answers {answer.status_code}"
    raise refuse(reason)


def refuse(reason: str) -> typer.Exit:
    typer.echo(f"branchline: {reason}", err=True)
    return typer.Exit(1)


def post_again(
    http: httpx.Client, path: str, query: dict[str, str] | None = None, body: dict[str, Any] | None = None
) -> httpx.Response:
    """Again after the seconds that it is told, when the service is busy: nothing of it was done."""
    for _ in range(MOST_TRIES):
        answer = http.post(path, params=query, json=body)
        if answer.status_code not in (httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.TOO_MANY_REQUESTS):
            break
        sleep(float(answer.headers.get("Retry-After", "1")))
    return answer
