"""What becomes of what errors and libraries say."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

PROGRAM = """
import asyncio, logging, warnings
import structlog
from myevents.errors import SettingsError
from myevents.telemetry.logs import configure_logs, tell_of_loop
configure_logs("command")
logging.getLogger("driver").error("no connection to %s", "postgresql://ann:secret@host")
logging.getLogger("driver").info("connected as ann with secret")
warnings.warn("deprecated: secret")
try:
    try:
        int("secret")
    except ValueError as error:
        raise SettingsError("MYEVENTS_PORT must be a port") from error
except SettingsError:
    structlog.get_logger().exception("failed")

async def main():
    tell_of_loop(asyncio.get_running_loop())
    async def fail():
        raise RuntimeError("secret")
    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    import gc
    gc.collect()

asyncio.run(main())
"""


def test_libraries_errors_and_forgotten_tasks_are_told_without_what_they_say() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=True)
    assert "secret" not in done.stderr + done.stdout
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["library", "library", "failed", "loop_failed"]
    library, warned, failed, forgotten = lines
    assert (library["logger"], library["said"], library["level"]) == ("driver", "no connection to %s", "error")
    assert (warned["logger"], warned["said"]) == ("py.warnings", None)
    assert library["place"] == "<string>:7 <module>"
    assert failed["error"] == ["SettingsError: MYEVENTS_PORT must be a port", "ValueError"]
    assert failed["at"][0].endswith("<module>")
    assert forgotten["error"] == ["RuntimeError"]
    assert {line["service"] for line in lines} == {"command"}
