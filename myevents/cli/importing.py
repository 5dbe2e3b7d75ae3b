"""Importing conferences from files."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from command.conferences import ConferenceImport
from command.writer import Writer
from myevents.cli.progress import progress_bar
from myevents.cli.running import console


async def import_file(writer: Writer, file: Path, rejects: Path) -> None:
    """Import one file, and say how it went; what cannot be goes to `rejects`, with the reason."""
    pending = (await asyncio.to_thread(file.read_bytes)).splitlines()
    rejected: list[dict[str, object]] = []
    with progress_bar() as bar:
        task = bar.add_task(f"Importing {file.name}", total=len(pending))
        tally = await ConferenceImport(writer).run(
            pending,
            lambda number, reason: rejected.append({"file": file.name, "line": number, "reason": reason}),
            lambda: bar.advance(task),
        )
    console.print(f"{tally.imported} imported, {tally.known} there already, {tally.rejected} rejected.")
    if rejected:
        rejected.sort(key=lambda entry: int(str(entry["line"])))
        with rejects.open("ab") as out:
            out.writelines(msgspec.json.encode(entry) + b"\n" for entry in rejected)
        console.print(f"The rejected lines and why: {rejects}")
