"""Real conferences, a JSON object a line, as commands: a city becomes a location, with as many halls as it needs.

The ids come from the line itself, so the same line is the same event for ever: an import goes on where it was
killed, and a second one changes nothing. Seats are not in the data: see `seats`.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from command.event.commands import CreateEvent
from command.event.times import FIRST_YEAR, LAST_YEAR, LONGEST_EVENT_DAYS
from command.inputs import checked
from command.location.commands import AddHall, CreateLocation
from command.writer import Writer
from myevents.errors import ErrorCode, Refused
from schema.facts import EventDetails, Hall, LocationDetails
from schema.ids import derived_id, new_id

IMPORTER: Final = "usr_import"
"""The person whom imported facts name."""

AT_ONCE: Final = 512
"""Lines under way at the same time."""

HALL_SEATS: Final = 1000
MOST_HALLS: Final = 100

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Conference(Struct, frozen=True, kw_only=True, rename="camel"):
    """A line of the file; fields that we do not know are passed over."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    url: Annotated[str, Meta(max_length=2000)] | None = None
    start_date: date
    end_date: date | None = None
    city: Annotated[str, Meta(max_length=200)] | None = None
    country: Annotated[str, Meta(max_length=200)] | None = None
    online: bool = False
    topics: list[Annotated[str, Meta(max_length=100)]] = []

    @property
    def starts_at(self) -> datetime:
        """Midnight UTC of its first day: the data has no times of day."""
        return datetime.combine(self.start_date, time(), UTC)

    @property
    def ends_at(self) -> datetime:
        """Midnight UTC after its last day."""
        return datetime.combine(self.end_date or self.start_date, time(), UTC) + timedelta(days=1)


class Tally(Struct):
    """What has become of the lines so far."""

    lines: int = 0
    imported: int = 0
    known: int = 0
    rejected: int = 0


class ConferenceImport:
    """Imports lines, many at once; each line's hall is chosen in the file's order, so that the choice is always one."""

    def __init__(self, writer: Writer, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._writer = writer
        self._now = now
        self._places: dict[str, asyncio.Task[None]] = {}
        self._halls: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._busy: dict[tuple[str, int], list[tuple[datetime, datetime]]] = defaultdict(list)
        self.tally = Tally()

    async def run(
        self, lines: Iterable[bytes], reject: Callable[[int, str], None], progress: Callable[[], None]
    ) -> Tally:
        """Import `lines`; `reject` is told number and reason of each that cannot be, and the rest goes on."""
        room = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for number, line in enumerate(lines, start=1):
                await room.acquire()
                group.create_task(self._line(number, line, reject, progress, room))
        return self.tally

    async def _line(
        self,
        number: int,
        line: bytes,
        reject: Callable[[int, str], None],
        progress: Callable[[], None],
        room: asyncio.Semaphore,
    ) -> None:
        try:
            if line.strip():
                self.tally.lines += 1
                await self._conference(read(line))
        except Refused as refused:
            self.tally.rejected += 1
            reject(number, f"{'.'.join(refused.path)}: {refused.message}" if refused.path else refused.message)
        finally:
            progress()
            room.release()

    async def _conference(self, conference: Conference) -> None:
        place = _place(conference)
        hall = self._free(place, conference) if place else 0
        while True:
            try:
                if place is not None:
                    await self._hall(conference, place, hall)
                await self._writer.submit(self._event(conference, place, hall))
            except Refused as refused:
                if refused.code is ErrorCode.CONFLICT:
                    self.tally.known += 1
                    return
                # Of an earlier file: its events are not in `_busy`.
                if refused.code is not ErrorCode.HALL_TAKEN or hall + 1 >= MOST_HALLS:
                    raise
                hall += 1
            else:
                self.tally.imported += 1
                return

    def _free(self, place: str, conference: Conference) -> int:
        """The number of the first hall that no line before this one has at the time."""
        for number in range(MOST_HALLS):
            busy = self._busy[place, number]
            if all(conference.ends_at <= start or end <= conference.starts_at for start, end in busy):
                busy.append((conference.starts_at, conference.ends_at))
                return number
        raise Refused(ErrorCode.HALL_TAKEN, f"All {MOST_HALLS} halls of the city are taken at the time.", ("city",))

    async def _hall(self, conference: Conference, place: str, number: int) -> None:
        """Make sure that the location has the hall, once for all lines that need it."""
        if place not in self._places:
            self._places[place] = asyncio.ensure_future(self._made(self._location(conference, place)))
        await self._places[place]
        if number and (place, number) not in self._halls:
            command = AddHall(**self._common(), location_id=place, hall=_hall(place, number))
            self._halls[place, number] = asyncio.ensure_future(self._made(command))
        if number:
            await self._halls[place, number]

    async def _made(self, command: CreateLocation | AddHall) -> None:
        try:
            await self._writer.submit(command)
        except Refused as refused:
            if refused.code is not ErrorCode.CONFLICT:
                raise

    def _location(self, conference: Conference, place: str) -> CreateLocation:
        city, country = conference.city or conference.country or "", conference.country or ""
        details = LocationDetails(name=city, city=conference.city, country=country)
        return CreateLocation(**self._common(), location_id=place, details=details, halls=(_hall(place, 0),))

    def _event(self, conference: Conference, place: str | None, hall: int) -> CreateEvent:
        identity = (conference.name, conference.url or "", place or "online", conference.ends_at.isoformat())
        url = conference.url if conference.url and conference.url.startswith(("http://", "https://")) else None
        return CreateEvent(
            **self._common(),
            event_id=derived_id("evt", conference.starts_at, *identity),
            details=EventDetails(name=conference.name, url=url, topics=tuple(dict.fromkeys(conference.topics))),
            starts_at=conference.starts_at,
            ends_at=conference.ends_at,
            location_id=place,
            hall_id=_hall(place, hall).hall_id if place else None,
            online=conference.online or place is None,
            capacity=seats(conference),
            ticket_type_id=derived_id("typ", conference.starts_at, *identity),
        )

    def _common(self) -> dict[str, Any]:
        return {"command_id": new_id("cmd"), "at": self._now(), "user_id": IMPORTER}


def seats(conference: Conference) -> int:
    """A plausible capacity, always the same for one name: 100 to 900 in steps of 50; a hall has 1,000."""
    return 100 + 50 * (zlib.crc32(conference.name.encode()) % 17)


def read(line: bytes) -> Conference:
    """The conference in a line; raises `Refused` with the field that does not fit."""
    try:
        conference = checked(msgspec.json.decode(line, type=Conference))
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Refused(ErrorCode.INVALID_INPUT, f"{error}.") from None
    if conference.end_date is not None and conference.end_date < conference.start_date:
        raise Refused(ErrorCode.INVALID_INPUT, "It ends before it starts.", ("endDate",))
    for field, day in (("startDate", conference.start_date), ("endDate", conference.end_date or conference.start_date)):
        if not date(FIRST_YEAR, 1, 1) <= day < date(LAST_YEAR, 12, 31):
            message = f"The date must be in the years {FIRST_YEAR} to {LAST_YEAR}, before the last day."
            raise Refused(ErrorCode.INVALID_INPUT, message, (field,))
    if conference.ends_at - conference.starts_at > timedelta(days=LONGEST_EVENT_DAYS):
        message = f"It takes longer than {LONGEST_EVENT_DAYS} days."
        raise Refused(ErrorCode.INVALID_INPUT, message, ("endDate",))
    if conference.city and not conference.country:
        raise Refused(ErrorCode.INVALID_INPUT, "A city needs its country.", ("country",))
    return conference


def _place(conference: Conference) -> str | None:
    """The id of the city's location, None where the conference is only online."""
    if not conference.country:
        return None
    return derived_id("loc", _EPOCH, conference.country, conference.city or "")


def _hall(place: str, number: int) -> Hall:
    hall_id = derived_id("hal", _EPOCH, place, str(number))
    return Hall(hall_id=hall_id, name=f"Hall {number + 1}", capacity=HALL_SEATS)
