"""What there is to say of a model's scaling: its condition, and each decision with its numbers."""

from kneescale.api.inference_model import InferenceModel
from kneescale.core.scaling.autoscaler import BUSY_PERMILLE, QUICK_STABILISATION_S, STABILISATION_S, Reason
from kneescale.plan.finding import Finding, fails, holds, unknown
from kneescale.plan.scaling import Scaling


def scaled(scaling: Scaling, model: InferenceModel) -> Finding:
    """Whether what is provided for follows what is measured, and the numbers."""
    if scaling.is_asleep:
        return holds("Asleep", asleep(model))
    if scaling.silent:
        names = ", ".join(sorted({report.schedule.metadata.name for report in scaling.silent}))
        return fails("NoMetrics", f"holding what is provided for: nothing is heard of late from {names}")
    if scaling.decision.state.provided_ips is None:
        return unknown("NoTraffic", "nothing arrived yet")
    message = f"{_provided(scaling)}: {_arriving(scaling)}{_tail(scaling, model)}{_ignored(scaling)}"
    return holds("Following", message)


def asleep(model: InferenceModel) -> str:
    """Why no worker runs, and what would wake it."""
    if model.spec.scaling.is_off:
        return "no worker runs, for spec.scaling.replicas is 0"
    since = f"nothing came for {model.spec.scaling.idle_seconds} s"
    return f"no worker runs, for {since}; the next request is held, and answered by the worker that it wakes"


def decided(scaling: Scaling) -> str:
    """The change that this plan makes, and what it was decided by."""
    before = scaling.before.provided_items_per_second
    instead = f" instead of {float(before):.3g}" if before else ""
    return f"{_provided(scaling)}{instead}: {_why(scaling)}"


def _provided(scaling: Scaling) -> str:
    return f"provides for {scaling.decision.state.provided_ips or 0:.3g} items/s"


def _why(scaling: Scaling) -> str:
    if scaling.decision.reason is Reason.RATE_FELL:
        most_ips = max(peak.needed_ips for peak in scaling.decision.state.peaks)
        if most_ips > (scaling.decision.state.provided_ips or 0.0):
            return f"for {QUICK_STABILISATION_S:.0f} s so much less was needed that it is no chance"
        return f"in the last {STABILISATION_S:.0f} s at most {most_ips:.3g}/s were needed"
    if scaling.decision.reason is Reason.TAIL_LATE and scaling.tail:
        ratio, busy = scaling.tail.ratio, scaling.tail.busy_permille / 10
        return f"its p99 is {ratio:.2g} times the SLO on a GPU that is busy {busy:.0f} % of the time"
    return _arriving(scaling)


def _arriving(scaling: Scaling) -> str:
    traffic, demand_ips = scaling.traffic, scaling.decision.demand_ips
    if traffic is None or demand_ips is None:
        return "no worker measures"
    words = f"{demand_ips:.3g}/s are to be expected, {traffic.recent_ips:.3g}/s came in the last seconds"
    return words + (f", in bursts (dispersion {traffic.dispersion:.2g})" if traffic.dispersion >= 2 else "")


def _tail(scaling: Scaling, model: InferenceModel) -> str:
    tail = scaling.tail
    if tail is None:
        return ""
    words = f"; p99 is {tail.ratio * model.spec.slo.latency_milliseconds:.0f} ms"
    if tail.is_late and tail.busy_permille < BUSY_PERMILLE:
        words += (
            f", late although its GPU is busy only {tail.busy_permille / 10:.0f} %: more GPU would not help"
        )
    return words


def _ignored(scaling: Scaling) -> str:
    nonsense = [f"{r.measured.name} reports {r.nonsense}" for r in scaling.reports if r.nonsense]
    return f"; ignored: {'; '.join(nonsense)}" if nonsense else ""
