"""The metrics of one scrape, worked out when Prometheus asks."""

from collections.abc import Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from kneescale.telemetry import declared
from kneescale.telemetry.declared import Kind


class Families:
    """Counters and gauges by their declarations; each is there, be it without a sample."""

    def __init__(self, metrics: Iterable[declared.Metric], first_labels: Sequence[str] = ()) -> None:
        """`first_labels` are the values of labels that all samples begin with."""
        self._first = tuple(first_labels)
        self._families = {metric: _family(metric) for metric in metrics}

    def add(self, metric: declared.Metric, value: float, *labels: str) -> None:
        """One sample, with the values of its other labels, all of them."""
        values = dict(zip(metric.labels, (*self._first, *labels), strict=True))
        self._families[metric].add_metric(list(values.values()), value)

    def all(self) -> Iterable[Metric]:
        """In the order of the declarations."""
        return self._families.values()


def _family(metric: declared.Metric) -> CounterMetricFamily | GaugeMetricFamily:
    make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    return make(metric.name, metric.help, labels=metric.labels)
