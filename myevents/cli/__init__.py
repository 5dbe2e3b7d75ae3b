"""The command line: `app` holds every command; each file beside this one brings some of them."""

from __future__ import annotations

import typer

from myevents.cli import facts, parked, services, upkeep

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="The command line.")
for commands in (services.app, upkeep.app):
    app.add_typer(commands)
app.add_typer(facts.app, name="log")
app.add_typer(parked.app, name="parked")
