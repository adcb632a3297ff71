"""`branchline dead-letters`: what could not be delivered, why, and delivering it again; over the services' own API."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import httpx
import typer

from services.catalog import SERVICES
from services.demo.tokens import TokenRefused, ask_for_token
from shared.settings import PlatformSettings

app = typer.Typer(no_args_is_help=True, help="What could not be delivered: lists it, tells why, delivers it again.")

Service = Annotated[str, typer.Argument(help=f"One of: {', '.join(SERVICES)}.")]
Code = Annotated[str | None, typer.Option(help="Only those parked for this reason, as handler_failed.")]
Type = Annotated[str | None, typer.Option("--type", help="Only events of this type.")]
Url = Annotated[str | None, typer.Option(help="Where the services answer; by default the demo here.")]
Token = Annotated[
    str | None, typer.Option(envvar="BRANCHLINE_TOKEN", help="Of the role operator; by default one of the demo's.")
]


@app.command(name="list")
def list_letters(
    service: Annotated[str | None, typer.Argument(help="Which service; by default all.")] = None,
    code: Code = None,
    type_name: Type = None,
    url: Url = None,
    token: Token = None,
) -> None:
    """Lists the dead letters, the oldest first."""
    with _client(url, token) as http:
        for name in [_known(service)] if service else SERVICES:
            for letter in _letters(http, name, code, type_name):
                what = letter["type"] or "-"
                typer.echo(
                    f"{name}  {letter['id']}  {letter['parked_at']}  {what}  {letter['code']}: {letter['detail']}"
                )


@app.command()
def show(service: Service, letter_id: str, url: Url = None, token: Token = None) -> None:
    """Tells all about one dead letter but what it holds."""
    with _client(url, token) as http:
        typer.echo(json.dumps(_answer(http.get(f"/api/{_known(service)}/v1/dead-letters/{letter_id}")), indent=2))


@app.command()
def replay(
    service: Service,
    letter_ids: Annotated[list[str] | None, typer.Argument(help="Which; or say it by --code, --type or --all.")] = None,
    code: Code = None,
    type_name: Type = None,
    everything: Annotated[bool, typer.Option("--all", help="All of the service.")] = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Delivers dead letters again, the oldest first. Ends with 1 when one fails again. Doing it twice does no harm."""
    if bool(letter_ids) + bool(code or type_name) + everything != 1:
        raise _refuse("say which: by their ids, by --code and --type, or --all.")
    with _client(url, token) as http:
        wanted = letter_ids or [letter["id"] for letter in _letters(http, _known(service), code, type_name)]
        delivered = gone = 0
        for letter_id in wanted:
            answer = http.post(f"/api/{_known(service)}/v1/dead-letters/{letter_id}/replay")
            if answer.status_code == httpx.codes.NOT_FOUND:
                gone += 1
                continue
            letter = _answer(answer)["dead_letter"]
            delivered += letter is None
            if letter is not None:
                typer.echo(f"{letter_id}  {letter['code']}: {letter['detail']}", err=True)
    again = len(wanted) - delivered - gone
    typer.echo(f"{delivered} delivered, {again} parked again, {gone} not there any more.")
    if again:
        raise typer.Exit(1)


def _letters(http: httpx.Client, service: str, code: str | None, type_name: str | None) -> Iterator[dict[str, Any]]:
    filters = {"code": code, "type": type_name, "sort": "parked_at", "limit": "200"}
    query = {name: value for name, value in filters.items() if value is not None}
    while True:
        page = _answer(http.get(f"/api/{service}/v1/dead-letters", params=query))
        yield from page["items"]
        if page["next"] is None:
            return
        query["cursor"] = page["next"]


@contextmanager
def _client(url: str | None, token: str | None) -> Iterator[httpx.Client]:
    where = url or PlatformSettings().public_url_of_demo
    try:
        bearer = token or ask_for_token(where, "operator", None, None, [])
        with httpx.Client(base_url=where, headers={"Authorization": f"Bearer {bearer}"}, timeout=60) as http:
            yield http
    except TokenRefused as refusal:
        raise _refuse(str(refusal)) from None
    except httpx.HTTPError as fault:
        raise _refuse(f"{where} does not answer ({type(fault).__name__}).") from None


def _answer(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_success:
        body: dict[str, Any] = answer.json()
        return body
    try:
        problem = answer.json()
        reason = f"{problem['detail']} ({problem['code']})"
    except (ValueError, KeyError):
        reason = f"it answers {answer.status_code}"
    raise _refuse(reason)


def _known(service: str) -> str:
    if service not in SERVICES:
        raise _refuse(f"there is no service {service!r}; there are {', '.join(SERVICES)}.")
    return service


def _refuse(reason: str) -> typer.Exit:
    typer.echo(f"branchline: {reason}", err=True)
    return typer.Exit(1)
