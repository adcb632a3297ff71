"""`branchline core-events`: what of the core is parked or held in the customer service, mended and received again."""

import json
from typing import Annotated, Any, Literal

import typer

from services.operator_http import Token, Url, client, post_again, read_answer, refuse

app = typer.Typer(no_args_is_help=True, help="Events of the core that are parked or held: tells why, mends them.")

PATH = "/api/customer/v1/core-banking/kept-events"
Code = Annotated[str | None, typer.Option(help="Only those kept for this reason, as malformed_event.")]
Source = Annotated[str | None, typer.Option(help="Only those of this source.")]
Outcome = Annotated[Literal["parked", "held"], typer.Option(help="Parked, or held for what they name.")]
KeptId = Annotated[str, typer.Argument(help="As the list says it.")]


@app.command(name="list")
def list_events(
    outcome: Outcome = "parked", code: Code = None, source: Source = None, url: Url = None, token: Token = None
) -> None:
    """Lists them, the oldest first."""
    query = {**_filters(outcome, code, source), "sort": "kept_at", "limit": "200"}
    with client(url, token) as http:
        while True:
            page = read_answer(http.get(PATH, params=query))
            for each in page["items"]:
                where = f"{each['pointer'] or ''} {each['detail']}".strip()
                typer.echo(
                    f"{each['kept_id']}  {each['source']} {each['id']}  {each['kept_at']}  {each['code']}: {where}"
                )
            if page["next"] is None:
                return
            query["cursor"] = page["next"]


@app.command()
def show(kept_id: KeptId, url: Url = None, token: Token = None) -> None:
    """Tells all about one: also what it holds, which is personal, and who mended it."""
    with client(url, token) as http:
        typer.echo(json.dumps(read_answer(http.get(f"{PATH}/{kept_id}")), indent=2, ensure_ascii=False))


@app.command()
def replay(
    kept_id: Annotated[str | None, typer.Argument(help="Which; or say it by --code, --source or --all.")] = None,
    patch: Annotated[
        str | None, typer.Option(help='A JSON merge patch of one\'s CloudEvent, as \'{"data": {"revision": 1}}\'.')
    ] = None,
    outcome: Outcome = "parked",
    code: Code = None,
    source: Source = None,
    everything: Annotated[bool, typer.Option("--all", help="All of the outcome.")] = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Receives them again, one mended if --patch says how. Ends with 1 when one is still kept. Twice does no harm."""
    if (kept_id is not None) + bool(code or source) + everything != 1 or (patch and kept_id is None):
        raise refuse("say which: one by its id, or several by --code, --source or --all; --patch is for one.")
    try:
        change: Any = json.loads(patch) if patch is not None else {}
    except ValueError:
        raise refuse("--patch is no JSON.") from None
    with client(url, token) as http:
        if kept_id is not None:
            became = read_answer(post_again(http, f"{PATH}/{kept_id}/replay", body={"patch": change}))
            why = f"  {became['code']}: {became['pointer'] or ''} {became['detail']}" if became["code"] else ""
            typer.echo(f"{became['source']} {became['id']}  {became['outcome']}{why}")
            if became["code"]:
                raise typer.Exit(1)
            return
        query = {**_filters(outcome, code, source), "limit": "100"}
        settled = kept = 0
        while True:
            part = read_answer(post_again(http, f"{PATH}/replay", query))
            settled, kept = settled + part["settled"], kept + part["kept"]
            if part["next"] is None:
                break
            query["cursor"] = part["next"]
    typer.echo(f"{settled} settled, {kept} still kept.")
    if kept:
        raise typer.Exit(1)


def _filters(outcome: str, code: str | None, source: str | None) -> dict[str, str]:
    named = {"outcome": outcome, "code": code, "source": source}
    return {name: value for name, value in named.items() if value is not None}
