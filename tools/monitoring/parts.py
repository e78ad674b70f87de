"""The three parts that export metrics, with the tables from which they do."""

from dataclasses import dataclass

from kneescale.agent import metrics as agent
from kneescale.controller import metrics as operator
from kneescale.core.worker_pod import METRICS_PORT as WORKER_PORT
from kneescale.telemetry.declared import Metric
from kneescale_worker import metrics as worker

_AGENT_PORT = 9400


@dataclass(frozen=True, slots=True)
class Part:
    """One part, and where its pods show its metrics."""

    name: str
    #: The `job` of its targets, in the scrape configuration and the PodMonitors alike.
    job: str
    port: int
    metrics: tuple[Metric, ...]


PARTS = (
    Part("operator", "kneescale-operator", operator.PORT, operator.METRICS),
    Part("agent", "kneescale-agent", _AGENT_PORT, agent.METRICS),
    Part("worker", "kneescale-worker", WORKER_PORT, worker.METRICS),
)
