"""Looking after Kafka's copy of the log."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from rich.table import Table

from command.relay.audit import Findings
from command.relay.check import check, mend
from myevents.bootstrap import kafka, kafka_answers, reading
from myevents.cli.running import console
from myevents.databases import connections, database
from myevents.settings import Settings


async def verify_copy(settings: Settings, *, repair: bool = False) -> None:
    """Print what Kafka lacks and what it has differently, mend it if asked to; exits with 1 where it is not whole."""
    address = kafka(settings)
    async with database(settings) as server, connections(server) as pool, reading(pool) as log, kafka_answers(address):
        found = await check(log=log, pool=pool, address=address)
        if repair and any(each.lost or each.altered for each in found):
            _show(found)
            console.print(f"Sent again: {await mend(found, log=log, address=address):,} facts. Checking once more.")
            found = await check(log=log, pool=pool, address=address)
    _show(found)
    if any(each.breaches for each in found):
        raise typer.Exit(1)
    console.print("Kafka has every fact of the log, and each says what it says in the log.")


def _show(found: Sequence[Findings]) -> None:
    table = Table(title="Facts, by partition")
    for column in ("partition", "in the log", "in Kafka", "last in Kafka", "records", "lost", "altered", "unknown"):
        table.add_column(column, justify="right")
    for each in found:
        numbers = (each.expected, each.present, each.last, each.records)
        breaches = (each.lost.count, each.altered.count, each.unknown.count)
        table.add_row(str(each.partition), *(f"{number:,}" for number in (*numbers, *breaches)))
    console.print(table)
    for each in found:
        for sentence in each.breaches:
            console.print(f"- {sentence}", markup=False)
        for sentence in each.remarks:
            console.print(f"  (allowed) {sentence}", markup=False)
