"""How far Kafka's copy of the log is, and what the audits found of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from myevents.relay_status import RelayStatus


class RelayMetrics(Collector):
    """A relay's status, asked for at every look."""

    def __init__(self, status: Callable[[], RelayStatus]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """The status as metrics."""
        status = self._status()
        sent = CounterMetricFamily(
            "myevents_relay_sent", "Facts that Kafka acknowledged to this process.", labels=("partition",)
        )
        for partition, count in status.sent.items():
            sent.add_metric((str(partition),), count)
        yield sent
        leads = {partition: int(partition in status.leads) for partition in range(status.partitions)}
        yield _by_partition("relay_leads", "Whether this process leads the partition.", leads)
        yield _by_partition("relay_lag_facts", "Facts that Kafka has not acknowledged.", status.lag_facts)
        yield _by_partition(
            "audit_differences", "Facts that the last audit found missing or altered.", status.differences
        )
        lag = "Seconds since the oldest fact that Kafka has not acknowledged was seen, or since it was last connected."
        yield GaugeMetricFamily("myevents_relay_lag_seconds", lag, status.lag_seconds)
        if status.audited_at is not None:
            yield GaugeMetricFamily(
                "myevents_audit_finished_timestamp_seconds", "When the last audit ended.", status.audited_at
            )


def _by_partition(name: str, documentation: str, values: Mapping[int, int]) -> Metric:
    gauge = GaugeMetricFamily(f"myevents_{name}", documentation, labels=("partition",))
    for partition, value in values.items():
        gauge.add_metric((str(partition),), value)
    return gauge
