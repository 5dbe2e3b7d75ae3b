"""The audit's SQL: what the read models must say, reckoned from the facts' JSON without any of the projector's code."""

from __future__ import annotations

from typing import Final

ALL: Final = "seen as not materialized (select stream_id, version, type, data, recorded_at from facts)"
"""Every fact there is."""

APPLIED: Final = """seen as not materialized (
  select f.stream_id, f.version, f.type, f.data, f.recorded_at
  from facts f join unnest($1::smallint[], $2::bigint[]) as c (partition, seq)
    on c.partition = f.partition and f.seq <= c.seq
  where not exists (
    select 1 from unnest($3::text[], $4::bigint[]) as p (stream_id, seq)
    where p.stream_id = f.stream_id and p.seq <= f.seq))"""
"""The facts up to the checkpoints $1, $2, but of each stream in $3 only those before its seq in $4."""

LOCATIONS: Final = """hall_facts as (
  select stream_id, version, hall, hall ->> 'hallId' as hall_id, number, true as adds
  from seen cross join lateral jsonb_array_elements(data -> 'halls') with ordinality as h (hall, number)
  where type = 'LocationCreated'
  union all
  select stream_id, version, data -> 'hall', data -> 'hall' ->> 'hallId', 0, type = 'HallAdded'
  from seen where type in ('HallAdded', 'HallChanged')
  union all
  select stream_id, version, null, data ->> 'hallId', 0, false from seen where type = 'HallRemoved'
), each_hall as (
  select stream_id, hall_id, (array_agg(hall order by version desc))[1] as hall,
    max(version) filter (where adds) as added, max(number) as number
  from hall_facts group by 1, 2
), halls_now as (
  select stream_id, jsonb_agg(jsonb_strip_nulls(hall) order by added, number) as halls
  from each_hall where hall is not null group by 1
), described as (
  select stream_id, max(version) as version, (array_agg(data -> 'details' order by version desc)
    filter (where type in ('LocationCreated', 'LocationChanged')))[1] as details
  from seen
  where type in ('LocationCreated', 'LocationChanged', 'HallAdded', 'HallChanged', 'HallRemoved')
  group by 1
), location_rows as (
  select stream_id as id, details ->> 'name' as name, details ->> 'address' as address, details ->> 'city' as city,
    details ->> 'country' as country, (details ->> 'latitude')::float as latitude,
    (details ->> 'longitude')::float as longitude, (details ->> 'openTime')::smallint as open_time,
    (details ->> 'closeTime')::smallint as close_time, coalesce(halls, '[]') as halls, version
  from described left join halls_now using (stream_id)
), place_rows as (
  select id, jsonb_strip_nulls(to_jsonb(l)) as location from location_rows l
)"""
"""Each location as its facts leave it: `location_rows` as columns, `place_rows` as JSON."""

EVENTS: Final = """told as (
  select stream_id as id,
    (array_agg(data order by version desc) filter (where type = 'EventCreated'))[1] as made,
    (array_agg(data -> 'details' order by version desc)
      filter (where type in ('EventCreated', 'EventChanged')))[1] as details,
    (array_agg(data order by version desc) filter (where type in ('EventCreated', 'EventRescheduled')))[1] as times,
    (array_agg(data order by version desc) filter (where type in ('EventCreated', 'EventMoved')))[1] as place,
    (array_agg(data order by version desc) filter (where type in ('EventCreated', 'CapacityChanged')))[1] as size,
    bool_or(type = 'EventPublished') as published, min(version) filter (where type = 'EventCancelled') as cancelled,
    min(recorded_at) filter (where type = 'EventCreated') as created_at
  from seen
  where type in ('EventCreated', 'EventChanged', 'EventPublished', 'EventRescheduled', 'EventMoved',
    'CapacityChanged', 'EventCancelled')
  group by 1
), counted as (
  select stream_id as id, line ->> 'ticketTypeId' as kind,
    sum(case type when 'SeatsBooked' then 1 else -1 end * (line ->> 'seats')::int) as seats
  from seen cross join lateral jsonb_array_elements(data -> 'lines') as line
  where type in ('SeatsBooked', 'BookingCancelled') group by 1, 2
), sold as (
  select counted.id, kind, case when cancelled is null then seats else 0 end as seats from counted join told using (id)
), sold_in_all as (
  select id, sum(seats)::int as seats from sold group by 1
), kinds as (
  select told.id, jsonb_agg(jsonb_strip_nulls(k.kind || jsonb_build_object('seatsBooked', coalesce(sold.seats, 0)))
    order by number) as ticket_types
  from told cross join lateral jsonb_array_elements(size -> 'ticketTypes') with ordinality as k (kind, number)
  left join sold on sold.id = told.id and sold.kind = k.kind ->> 'ticketTypeId'
  group by 1
), last_facts as (
  select distinct on (stream_id) stream_id as id, version, recorded_at from seen order by stream_id, version desc
), event_rows as (
  select told.id, details ->> 'name' as name, details ->> 'description' as description, details ->> 'url' as url,
    array(select jsonb_array_elements_text(details -> 'topics')) as topics,
    (details ->> 'seatsPerPerson')::int as seats_per_person,
    case when cancelled is not null then 'CANCELLED' when published then 'PUBLISHED' else 'DRAFT' end as status,
    (times ->> 'startsAt')::timestamptz as starts_at, (times ->> 'endsAt')::timestamptz as ends_at,
    made ->> 'timeZone' as time_zone, (made ->> 'online')::boolean as online, (size ->> 'capacity')::int as capacity,
    coalesce(sold_in_all.seats, 0) as seats_booked,
    case when cancelled is null then (size ->> 'capacity')::int - coalesce(sold_in_all.seats, 0) else 0 end
      as seats_available,
    coalesce(ticket_types, '[]') as ticket_types, made ->> 'organizerId' as organizer_id,
    place ->> 'locationId' as location_id, place ->> 'hallId' as hall_id, location, location ->> 'city' as city,
    location ->> 'country' as country, (location ->> 'latitude')::float as latitude,
    (location ->> 'longitude')::float as longitude, created_at, recorded_at as updated_at, version
  from told join last_facts using (id) left join sold_in_all using (id) left join kinds using (id)
  left join place_rows on place_rows.id = place ->> 'locationId'
)"""
"""Each event as its facts leave it, after `LOCATIONS`: `event_rows`. An event that has ended has no seats booked."""

BOOKINGS: Final = """freed as (
  select data ->> 'bookingId' as id, version, recorded_at from seen where type = 'BookingCancelled'
), ended as (
  select stream_id as event_id, version, recorded_at from seen where type = 'EventCancelled'
), booking_rows as (
  select b.data ->> 'bookingId' as id, b.stream_id as event_id, b.data ->> 'userId' as user_id,
    case when f.id is null and e.event_id is null then 'CONFIRMED' else 'CANCELLED' end as status,
    (select sum((line ->> 'seats')::int) from jsonb_array_elements(b.data -> 'lines') as line)::int as seats,
    b.data -> 'lines' as lines, b.recorded_at as created_at,
    coalesce(f.recorded_at, e.recorded_at, b.recorded_at) as updated_at,
    coalesce(f.version, e.version, b.version) as version
  from seen b left join freed f on f.id = b.data ->> 'bookingId' left join ended e on e.event_id = b.stream_id
  where b.type = 'SeatsBooked'
)"""
"""Each booking as its facts leave it: `booking_rows`."""

OVERSOLD: Final = """
with moves as (
  select stream_id, version, '' as kind, case type when 'SeatsBooked' then 1 else -1 end * (line ->> 'seats')::int
    as delta, null::int as capacity
  from facts cross join lateral jsonb_array_elements(data -> 'lines') as line
  where type in ('SeatsBooked', 'BookingCancelled')
  union all
  select stream_id, version, line ->> 'ticketTypeId', case type when 'SeatsBooked' then 1 else -1 end
    * (line ->> 'seats')::int, null
  from facts cross join lateral jsonb_array_elements(data -> 'lines') as line
  where type in ('SeatsBooked', 'BookingCancelled')
  union all
  select stream_id, version, '', 0, (data ->> 'capacity')::int
  from facts where type in ('EventCreated', 'CapacityChanged')
  union all
  select stream_id, version, kind ->> 'ticketTypeId', 0, (kind ->> 'capacity')::int
  from facts cross join lateral jsonb_array_elements(data -> 'ticketTypes') as kind
  where type in ('EventCreated', 'CapacityChanged')
), running as (
  select stream_id, version, kind, sum(delta) over w as booked, coalesce((max(
    case when capacity is not null then array[version, capacity] end) over w)[2], 0) as capacity
  from moves window w as (partition by stream_id, kind order by version)
), wrong as (
  select distinct on (stream_id, kind) stream_id, version, kind, booked, capacity
  from running where booked > capacity or booked < 0 order by stream_id, kind, version
)
select format('%s had %s seats booked of %s at version %s',
  case kind when '' then 'Event ' || stream_id else format('Ticket type %s of event %s', kind, stream_id) end,
  booked, capacity, version) from wrong order by 1"""
"""Where seats booked were ever more than capacity, each as of one fact, or fewer than none; the first time each."""

MISBOOKED: Final = """
select format('Booking %s is booked %s times and cancelled %s times, of %s events and with %s sets of seats',
  data ->> 'bookingId', count(*) filter (where type = 'SeatsBooked'),
  count(*) filter (where type = 'BookingCancelled'), count(distinct stream_id), count(distinct data -> 'lines'))
from facts where type in ('SeatsBooked', 'BookingCancelled')
group by data ->> 'bookingId'
having count(*) filter (where type = 'SeatsBooked') <> 1 or count(*) filter (where type = 'BookingCancelled') > 1
  or count(distinct stream_id) > 1 or count(distinct data -> 'lines') > 1
order by 1"""
"""Bookings made twice, ended twice, ended without having been made, or that free other seats than were booked."""

AFTER_THE_END: Final = """
select format('Event %s was cancelled at version %s, and has facts up to version %s', e.stream_id, e.version,
  max(f.version))
from facts e join facts f on f.stream_id = e.stream_id and f.version > e.version
where e.type = 'EventCancelled' group by e.stream_id, e.version order by 1"""
"""Events with facts after their end."""

# The driver writes the first and the last moment that Python knows as infinity. No new event has them.
_DURING: Final = """tstzrange(
    case when starts_at = '0001-01-01 00:00:00+00' then '-infinity' else starts_at end,
    case when ends_at = '9999-12-31 23:59:59.999999+00' then 'infinity' else ends_at end)"""

MISPLACED: Final = f"""
with {ALL}, {LOCATIONS}, {EVENTS}, held as (
  select id, hall_id, capacity, starts_at, ends_at, {_DURING} as during
  from event_rows where status <> 'CANCELLED' and hall_id is not null
)
select format('Event %s has %s seats in hall %s, which has %s', held.id, held.capacity, held.hall_id,
  coalesce(hall ->> 'capacity', 'been removed'))
from held left join each_hall using (hall_id) where held.capacity > coalesce((hall ->> 'capacity')::int, 0)
union all
select format('Events %s and %s have hall %s at the same time', one.id, other.id, hall_id)
from held one join held other using (hall_id)
where one.id < other.id and one.starts_at < other.ends_at and other.starts_at < one.ends_at
union all
select format('Event %s has hall %s by its facts, but %s by the table that guards it', coalesce(id, event_id),
  coalesce(held.hall_id, 'none'), coalesce(hall_events.hall_id, 'none'))
from held full join hall_events on event_id = id
where (held.hall_id, held.capacity, held.during)
  is distinct from (hall_events.hall_id, hall_events.capacity, hall_events.during)
order by 1"""
"""Events larger than their hall, two in one hall at one time, and what the table that should prevent both has wrong."""
