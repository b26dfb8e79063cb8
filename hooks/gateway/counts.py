"""What operators can count of the gateway, in the text format of Prometheus. No label holds anything of a patient."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cds.errors import LeukoError
from hooks.gateway.journal import ImageState, Journal


def exposition(journal: Journal, trouble: str | None) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Counts(journal, trouble))
    return generate_latest(registry)


class _Counts(Collector):
    def __init__(self, journal: Journal, trouble: str | None) -> None:
        self._journal, self._trouble = journal, trouble

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            counts, held_up = self._journal.counts(), self._journal.held_up()
            oldest = self._journal.oldest(ImageState.READY)
        except LeukoError:
            yield GaugeMetricFamily("leukocds_gateway_up", "Whether the gateway can do its work.", value=0)
            return
        well = 0 if self._trouble else 1
        yield GaugeMetricFamily("leukocds_gateway_up", "Whether the gateway can do its work.", value=well)
        images = GaugeMetricFamily("leukocds_gateway_images", "Images by state.", labels=["state"])
        for state, count in counts.items():
            images.add_metric([state], count)
        yield images
        yield GaugeMetricFamily(
            "leukocds_gateway_held_up", "Accession numbers that wait for a server.", value=len(held_up)
        )
        age = max(0.0, time.time() - oldest) if oldest is not None else 0.0
        yield GaugeMetricFamily(
            "leukocds_gateway_oldest_ready_seconds",
            "Age of the oldest image that is to be stored.",
            value=age,
        )
