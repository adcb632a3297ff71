"""`branchline backfill`: a bank's history from files, as its data team runs it."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from feeds.files.layout import Amounts, File, Format, Layout, found_files, short_name
from feeds.rows import FeedRefused
from shared.keyring import AuditKeys, MasterKeyring, UnfitKeys
from shared.settings import PlatformSettings

if TYPE_CHECKING:  # the other commands need not wait for what this one needs
    from services.backfilling import Loaded, Terms
    from services.customer.use_cases.backfill import Progress
    from shared.database import Database

LINE_EVERY_S = 5.0


class BackfillSettings(BaseSettings):
    """Of the customer service's: it is loaded as the role of its deliveries and jobs."""

    model_config = SettingsConfigDict(env_prefix="CUSTOMER_", extra="ignore", use_attribute_docstrings=True)

    database_url: str = Field(min_length=1)
    """postgresql://user:password@host/database"""


def load_history(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, patterns as 'history/*.csv.gz'.")],
    source: Annotated[
        str | None, typer.Option(help="Whose ids these are: the `source` of the same bank's live events.")
    ] = None,
    type_name: Annotated[
        str | None, typer.Option("--type", help="What the rows are, as transaction_posted; else the files' names say.")
    ] = None,
    file_format: Annotated[
        Format | None, typer.Option("--format", help="Where a file's name does not tell it.")
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option("--map", metavar="COLUMN=FIELD", help="Which field a column is.")
    ] = None,
    constants: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="A field's value in all rows.")
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--value", metavar="FIELD:THEIRS=OURS", help="What a value is called here; * is any other."),
    ] = None,
    amounts: Annotated[
        Amounts, typer.Option(help="minor: -25000; major: -250.00 in columns `amount`, `balance_after`.")
    ] = Amounts.MINOR,
    decimal_mark: Annotated[str, typer.Option(help="A point or a comma, in major amounts.")] = ".",
    debit_when: Annotated[
        str | None, typer.Option(metavar="COLUMN=VALUE", help="What tells debits, where amounts have no sign.")
    ] = None,
    dates: Annotated[str | None, typer.Option(help="As %Y%m%d or %d.%m.%Y; by default ISO 8601.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Of instants without an offset, as Asia/Shanghai.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Of CSV; by default a comma, of .tsv a `tab`.")] = None,
    encoding: Annotated[str, typer.Option(help="As gb18030; a byte order mark of UTF-8 is seen by itself.")] = "utf-8",
    header: Annotated[
        str | None, typer.Option(help="The columns' names, separated by commas, where the file has none.")
    ] = None,
    most_parked: Annotated[
        int, typer.Option(min=0, help="Stops before more rows than this of one file are parked.")
    ] = 1_000,
    rows: Annotated[int, typer.Option(min=1, max=500_000, help="The most rows of one transaction.")] = 200_000,
    again: Annotated[
        bool, typer.Option("--again", help="From the beginning, also what is loaded or has changed since.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Writes all parked rows of the files there, as CSV.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as one JSON object.")] = False,
) -> None:
    """Loads a bank's history into the customer service's database, by the rules of live events.

    Needs CUSTOMER_DATABASE_URL, BRANCHLINE_MASTER_KEYS and BRANCHLINE_AUDIT_KEYS, as the service has them. Killed at
    any moment, it goes on where it was when it is run again; a row that was there before, from a file or live, counts
    as a duplicate.
    """
    from services.backfilling import BackfillFailed, Terms
    from services.customer.settings import CustomerSettings
    from services.customer.use_cases.ingestion import Rules
    from shared.batch_memory import expect_batches

    try:
        settings = BackfillSettings()  # type: ignore[call-arg] # from the environment
    except ValidationError:
        raise _refuse("CUSTOMER_DATABASE_URL is not set: which database is to be loaded?") from None
    try:
        layout = Layout(
            source=source,
            type=type_name,
            format=file_format,
            columns=_columns(columns),
            constants=_pairs(constants, "--set FIELD=VALUE"),
            values=_renamings(values),
            amounts=amounts,
            decimal_mark=decimal_mark,
            debit=next(iter(_pairs([debit_when], "--debit-when COLUMN=VALUE").items())) if debit_when else None,
            dates=dates,
            timezone=timezone,
            delimiter={"tab": "\t", r"\t": "\t"}.get(delimiter or "", delimiter),
            encoding=encoding,
            header=tuple(header.split(",")) if header else None,
        )
        files = found_files(paths, layout)
        tolerance = CustomerSettings().reconciliation_tolerance_minor
        platform = PlatformSettings()
        keyring = MasterKeyring.read(platform.master_keys, platform.master_keys_file)
        audit_keys = AuditKeys.read(platform.audit_keys, platform.audit_keys_file)
        rules = Rules(partitions=platform.partitions, tolerance_minor=tolerance)
        terms = Terms(rules=rules, rows=rows, most_parked=most_parked, again=again)
        expect_batches()  # sets aside what is there: not the loop, which may end with a fault and all that it holds
        asyncio.run(_load(settings.database_url, keyring, audit_keys, files, layout, terms, report, as_json))
    except FeedRefused as refusal:
        raise _refuse(f"{refusal.detail} ({refusal.code}).") from None
    except UnfitKeys as fault:
        raise _refuse(f"{fault}: what is loaded is sealed and recorded as the service does it.") from None
    except BackfillFailed as fault:
        raise _refuse(str(fault)) from None
    except KeyboardInterrupt:
        raise _refuse("stopped. Run it again: it goes on from where it is.") from None


async def _load(
    url: str,
    keyring: MasterKeyring,
    audit_keys: AuditKeys,
    files: Sequence[File],
    layout: Layout,
    terms: "Terms",
    report: Path | None,
    as_json: bool,
) -> None:
    from services.backfilling import backfill, still_held
    from shared.audit.writer import AuditWriter
    from shared.database import Database
    from shared.sealing.data_keys import DataKeys
    from shared.sealing.master_keys import LocalMasterKeys

    database = Database(url, url, pool_size=2)
    database.data_keys = DataKeys(LocalMasterKeys(keyring))
    audit = database.audit = AuditWriter("customer", url, audit_keys)
    began = monotonic()
    try:
        with Shown(Console(stderr=True)) as shown:
            loaded = await backfill(database, files, layout, terms, shown)
        held = await still_held(database)
        if report is not None:
            await write_report(database, loaded, report)
    finally:
        await audit.close()
        await database.close()
    summary = _summary(loaded, held, monotonic() - began)
    if as_json:
        typer.echo(json.dumps(summary))
        return
    typer.echo(
        f"{summary['read']:,} rows read in {summary['seconds']:,.1f} s ({summary['rows_per_second']:,} rows/s):"
        f" {summary['applied']:,} applied, {summary['duplicate']:,} duplicates, {summary['held']:,} held,"
        f" {summary['parked']:,} parked. {held:,} events wait for what they name."
    )


def _summary(loaded: "Sequence[Loaded]", still_held: int, seconds: float) -> dict[str, float]:
    read = sum(file.read for file in loaded)
    spent = sum(file.seconds for file in loaded)
    counts = {
        name: sum(getattr(file.now, name) - getattr(file.before, name) for file in loaded)
        for name in ("applied", "duplicate", "held", "parked")
    }
    return {
        "files": len(loaded),
        "loaded_before": sum(file.before.finished_at is not None for file in loaded),
        "read": read,
        **counts,
        "still_held": still_held,
        "seconds": round(seconds, 3),
        "rows_per_second": round(read / spent) if spent else 0,
    }


class Shown:
    """Bars on a terminal; elsewhere a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[said]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._began = self._said = monotonic()
        self._from = 0

    def __enter__(self) -> "Shown":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begins(self, file: File, progress: "Progress") -> None:
        what = short_name(file.event_type) if file.event_type else "CloudEvents"
        self._began = self._said = monotonic()
        self._from = progress.position
        if progress.finished_at is not None:
            self._print(
                f"{file.path.name}: loaded before, {progress.position:,} rows by {progress.finished_at:%Y-%m-%d %H:%M};"
                " --again reads it again"
            )
            return
        if progress.position:
            self._print(f"{file.path.name}: goes on after record {progress.position:,}")
        if self._console.is_terminal:
            self._task = self._bars.add_task(f"{file.path.name} ({what})", total=1.0, said="")

    def moved(self, file: File, progress: "Progress", share: float) -> None:
        now = monotonic()
        rate = (progress.position - self._from) / max(now - self._began, 1e-3)
        said = (
            f"{progress.position:,} rows, {rate:,.0f}/s: {progress.applied:,} applied,"
            f" {progress.duplicate:,} duplicates, {progress.held:,} held, {progress.parked:,} parked"
        )
        if self._task is not None:
            self._bars.update(self._task, completed=share, said=said)
        elif now - self._said >= LINE_EVERY_S:
            self._said = now
            self._print(f"{file.path.name}: {share:.0%}, {said}")

    def waits(self, file: File, fault: str) -> None:
        self._print(f"{file.path.name}: waits for the database ({fault})")

    def ends(self, loaded: "Loaded") -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        now, name = loaded.now, loaded.file.path.name
        if loaded.before.finished_at is None:
            self._print(
                f"{name}: {now.position:,} rows: {now.applied:,} applied, {now.duplicate:,} duplicates,"
                f" {now.held:,} held, {now.parked:,} parked"
            )
        for line, code, pointer, detail in loaded.faults:
            self._print(f"{name}, line {line:,}: {code}{f' at {pointer}' if pointer else ''}: {detail}")
        if now.parked > len(loaded.faults):
            self._print(f"{name}: and {now.parked - len(loaded.faults):,} more; --report has them all")

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


async def write_report(database: "Database", loaded: "Sequence[Loaded]", path: Path) -> None:
    """All rows of the files that are parked: file, line, event id, code, pointer, detail."""
    import csv

    from services.customer.use_cases.backfill import faults_of

    with path.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text)
        writer.writerow(["file", "line", "event_id", "code", "pointer", "detail"])
        for file in loaded:
            async with database.transaction() as session:
                for fault in await faults_of(session, file.now.backfill_id):
                    where = (str(file.file.path), fault.line)
                    writer.writerow([*where, fault.event_id, fault.code, fault.pointer, fault.detail])


def _pairs(given: Sequence[str] | None, form: str, *, last: bool = False) -> dict[str, str]:
    pairs = {}
    for each in given or ():
        left, found, right = each.rpartition("=") if last else each.partition("=")
        if not (left.strip() and found):
            raise _refuse(f"{each!r} is not {form}.")
        pairs[left.strip()] = right.strip()
    return pairs


def _columns(given: Sequence[str] | None) -> dict[str, str]:
    """By field."""
    columns: dict[str, str] = {}
    for each in given or ():
        ((column, name),) = _pairs([each], "--map COLUMN=FIELD", last=True).items()
        if columns.setdefault(name, column) != column:
            raise _refuse(f"--map gives {name} two columns.")
    return columns


def _renamings(given: Sequence[str] | None) -> dict[str, dict[str, str]]:
    values: dict[str, dict[str, str]] = {}
    for named, ours in _pairs(given, "--value FIELD:THEIRS=OURS", last=True).items():
        name, found, theirs = named.partition(":")
        if not found:
            raise _refuse(f"{named!r} is not --value FIELD:THEIRS=OURS.")
        values.setdefault(name.strip(), {})[theirs.strip()] = ours
    return values


def _refuse(reason: str) -> typer.Exit:
    typer.echo(f"branchline: {reason}", err=True)
    return typer.Exit(1)
