"""`branchline dead-letters`: what could not be delivered and why; mending it, delivering it again; over the API."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import click
import httpx
import typer

from services.catalog import SERVICES
from services.operator_http import Token, Url, client, post_again, read_answer, refuse

app = typer.Typer(
    no_args_is_help=True, help="What could not be delivered: lists it, tells why, mends it, delivers it again."
)

CHUNK = 100

Service = Annotated[str, typer.Argument(help=f"One of: {', '.join(SERVICES)}.")]
Code = Annotated[str | None, typer.Option(help="Only those parked for this reason, as handler_failed.")]
Type = Annotated[str | None, typer.Option("--type", help="Only events of this type.")]
Topic = Annotated[str | None, typer.Option(help="Only those of this topic.")]
Since = Annotated[str | None, typer.Option("--from", help="Only those parked then or later, as 2026-11-24T00:00:00Z.")]
Until = Annotated[str | None, typer.Option(help="Only those parked before then.")]
All = Annotated[bool, typer.Option("--all", help="All of the service.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only counts them.")]


@app.command(name="list")
def list_letters(
    service: Annotated[str | None, typer.Argument(help="Which service; by default all.")] = None,
    code: Code = None,
    type_name: Type = None,
    topic: Topic = None,
    since: Since = None,
    until: Until = None,
    url: Url = None,
    token: Token = None,
) -> None:
    """Lists the dead letters, the oldest first."""
    filters = _filters(code, type_name, topic, since, until)
    with client(url, token) as http:
        for name in [_known(service)] if service else SERVICES:
            for letter in _letters(http, name, filters):
                what = letter["type"] or "-"
                typer.echo(f"{name}  {letter['id']}  {letter['parked_at']}  {what}  {_why(letter)}")


@app.command()
def show(service: Service, letter_id: str, url: Url = None, token: Token = None) -> None:
    """Tells all about one dead letter: also what it holds, which may be personal, and who edited it."""
    with client(url, token) as http:
        typer.echo(json.dumps(read_answer(http.get(f"{_path(service)}/{letter_id}")), indent=2, ensure_ascii=False))


@app.command()
def edit(
    service: Service,
    letter_ids: Annotated[list[str] | None, typer.Argument(help="Which; or say it by a filter or --all.")] = None,
    payload: Annotated[Path | None, typer.Option(help="A file with all of one letter's payload anew, JSON.")] = None,
    patch: Annotated[str | None, typer.Option(help="A JSON merge patch of the payload, as '{\"score\": 9}'.")] = None,
    header: Annotated[list[str] | None, typer.Option(help="As ce_type=customer.survey_reported.v1.")] = None,
    no_header: Annotated[list[str] | None, typer.Option(help="The name of a header to take out.")] = None,
    code: Code = None,
    type_name: Type = None,
    topic: Topic = None,
    since: Since = None,
    until: Until = None,
    everything: All = False,
    dry_run: DryRun = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Changes what dead letters hold before they are replayed. What they held is kept, with who changed it.

    For one letter, and without saying what to change, $EDITOR opens its payload.
    """
    filters = _filters(code, type_name, topic, since, until)
    _say_which(letter_ids, filters, everything, dry_run)
    change = _change(payload, patch, header, no_header)
    if payload is not None and (letter_ids is None or len(letter_ids) != 1):
        raise refuse("--payload is for one letter, by its id.")
    with client(url, token) as http:
        if letter_ids:
            if not change and len(letter_ids) != 1:
                raise refuse("the editor opens one letter; for several say --patch or --header.")
            for letter_id in letter_ids:
                _edit_one(http, f"{_path(service)}/{letter_id}", change)
            return
        if dry_run:
            _count(http, service, filters)
            return
        if not change:
            raise refuse("say what to change: --patch, --header or --no-header.")
        edited = unchanged = 0
        refused: list[str] = []
        for part in _chunks(http, f"{_path(service)}/edit", filters, change):
            edited, unchanged = edited + part["edited"], unchanged + part["unchanged"]
            refused += part["refused"]
    for letter_id in refused:
        typer.echo(f"{letter_id}  its payload is no JSON object", err=True)
    typer.echo(f"{edited} edited, {unchanged} are so already, {len(refused)} refused.")
    if refused:
        raise typer.Exit(1)


def _edit_one(http: httpx.Client, path: str, change: dict[str, Any]) -> None:
    read = http.get(path)
    letter = read_answer(read)
    if not change:
        record = letter["record"]
        if record["payload_base64"] is not None:
            raise refuse("the payload is no text; --payload replaces it.")
        before = record["payload"] or ""
        after = click.edit(before, extension=".json", require_save=True)
        if after is None or after.strip() == before.strip():
            typer.echo(f"{letter['id']}  not changed")
            return
        change = {"payload": after.strip()}
    now = read_answer(http.patch(path, json=change, headers={"If-Match": read.headers["ETag"]}))
    typer.echo(f"{letter['id']}  {'edited' if now['edits'] > letter['edits'] else 'not changed'}")


def _change(
    payload: Path | None, patch: str | None, header: list[str] | None, no_header: list[str] | None
) -> dict[str, Any]:
    change: dict[str, Any] = {}
    try:
        if payload is not None:
            change["payload"] = payload.read_text(encoding="utf-8")
        if patch is not None:
            change["payload_patch"] = json.loads(patch)
    except (OSError, ValueError) as fault:
        raise refuse(f"{payload or '--patch'} cannot be read ({type(fault).__name__}).") from None
    pairs = [each.partition("=") for each in header or []]
    if wrong := [name for name, equals, _ in pairs if not (name and equals)]:
        raise refuse(f"--header is NAME=VALUE, not {wrong[0]!r}.")
    headers = {name: value for name, _, value in pairs} | dict.fromkeys(no_header or [])
    return change | ({"headers": headers} if headers else {})


@app.command()
def replay(
    service: Service,
    letter_ids: Annotated[list[str] | None, typer.Argument(help="Which; or say it by a filter or --all.")] = None,
    code: Code = None,
    type_name: Type = None,
    topic: Topic = None,
    since: Since = None,
    until: Until = None,
    everything: All = False,
    dry_run: DryRun = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Delivers dead letters again, the oldest first. Ends with 1 when one fails again. Doing it twice does no harm."""
    filters = _filters(code, type_name, topic, since, until)
    _say_which(letter_ids, filters, everything, dry_run)
    with client(url, token) as http:
        if dry_run:
            _count(http, service, filters)
            return
        delivered = again = gone = 0
        if letter_ids:
            for letter_id in letter_ids:
                answer = post_again(http, f"{_path(service)}/{letter_id}/replay")
                if answer.status_code == httpx.codes.NOT_FOUND:
                    gone += 1
                    continue
                letter = read_answer(answer)["dead_letter"]
                delivered += letter is None
                again += letter is not None
                _tell([letter] if letter else [])
        else:
            for part in _chunks(http, f"{_path(service)}/replay", filters):
                delivered, again = delivered + part["delivered"], again + len(part["parked"])
                _tell(part["parked"])
    typer.echo(f"{delivered} delivered, {again} parked again, {gone} not there any more.")
    if again:
        raise typer.Exit(1)


def _tell(letters: list[dict[str, Any]]) -> None:
    for letter in letters:
        typer.echo(f"{letter['id']}  {_why(letter)}", err=True)


def _why(letter: dict[str, Any]) -> str:
    return f"{letter['code']}: {letter['detail']}"


def _count(http: httpx.Client, service: str, filters: dict[str, str]) -> None:
    summary = read_answer(http.get(f"{_path(service)}/summary", params=filters))
    for kind in summary["kinds"]:
        typer.echo(
            f"{kind['count']}  {kind['code']}  {kind['type'] or '-'}  {kind['topic']}  since {kind['oldest_at']}"
        )
    typer.echo(f"{summary['total']} in all.")


def _chunks(
    http: httpx.Client, path: str, filters: dict[str, str], body: dict[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """What became of one part after the other, each in a transaction of its own; tells how far it is."""
    query = {**filters, "limit": str(CHUNK)}
    total = read_answer(http.get(f"{path.rpartition('/')[0]}/summary", params=filters))["total"]
    done = 0
    while True:
        part = read_answer(post_again(http, path, query, body))
        yield part
        if part["next"] is None:
            return
        done += CHUNK
        typer.echo(f"{done} of {total} …", err=True)
        query["cursor"] = part["next"]


def _letters(http: httpx.Client, service: str, filters: dict[str, str]) -> Iterator[dict[str, Any]]:
    query = {**filters, "sort": "parked_at", "limit": "200"}
    while True:
        page = read_answer(http.get(_path(service), params=query))
        yield from page["items"]
        if page["next"] is None:
            return
        query["cursor"] = page["next"]


def _filters(
    code: str | None, type_name: str | None, topic: str | None, since: str | None, until: str | None
) -> dict[str, str]:
    named = {"code": code, "type": type_name, "topic": topic, "parked_from": since, "parked_until": until}
    return {name: value for name, value in named.items() if value is not None}


def _say_which(letter_ids: list[str] | None, filters: dict[str, str], everything: bool, dry_run: bool) -> None:
    if bool(letter_ids) + bool(filters) + everything != 1:
        raise refuse("say which: by their ids, by a filter as --code, or --all.")
    if dry_run and letter_ids:
        raise refuse("--dry-run counts what a filter finds.")


def _path(service: str) -> str:
    return f"/api/{_known(service)}/v1/dead-letters"


def _known(service: str) -> str:
    if service not in SERVICES:
        raise refuse(f"there is no service {service!r}; there are {', '.join(SERVICES)}.")
    return service
