"""What the three dashboards show: the fleet, one model, one GPU."""

from tools.monitoring.dashboards import Dashboard, Panel, Query, Variable

_MODEL = 'namespace="$namespace", model="$model"'
_GPU = 'node="$node", device="$device"'
_BY_MODEL = "{{namespace}}/{{model}}"
_BY_DEVICE = "{{node}}/{{device}}"


def _rate(metric: str, selector: str, *by: str) -> str:
    return f"sum by ({', '.join(by)}) (rate({metric}{{{selector}}}[$__rate_interval]))"


def _quantile(share: float, histogram: str, selector: str) -> str:
    return f"histogram_quantile({share:g}, {_rate(f'{histogram}_bucket', selector, 'le')})"


def _quantiles(histogram: str, selector: str) -> tuple[Query, ...]:
    return tuple(Query(_quantile(share / 100, histogram, selector), f"p{share}") for share in (50, 90, 99))


FLEET = Dashboard(
    uid="kneescale-fleet",
    title="Kneescale: fleet",
    variables=(),
    panels=(
        Panel(
            "SLO attainment, 5 minutes",
            "percentunit",
            (Query("model:kneescale_slo_attainment:ratio_rate5m", _BY_MODEL),),
            help="Requests answered within the SLO, of all that it counts.",
        ),
        Panel(
            "SLO budget burnt, times what is sustainable, 1 hour",
            "none",
            (
                Query(
                    "(1 - model:kneescale_slo_attainment:ratio_rate1h) / on (namespace, model) group_left () "
                    "model:kneescale_slo_error_budget:ratio",
                    _BY_MODEL,
                ),
            ),
            help="1 uses up exactly the budget; KneescaleSLOBurnsFast fires from 14.4 on.",
        ),
        Panel("Requests", "reqps", (Query("model:kneescale_requests:rate5m", _BY_MODEL),)),
        Panel("p99 latency", "s", (Query("model:kneescale_request_seconds:p99_rate5m", _BY_MODEL),)),
        Panel("Queued items", "none", (Query("model:kneescale_queued_items:sum", _BY_MODEL),)),
        Panel(
            "Workers",
            "none",
            (
                Query("sum by (namespace, model) (kneescale_model_desired_replicas)", f"{_BY_MODEL} desired"),
                Query(
                    'sum by (namespace, model) (kneescale_model_replicas{state="Serving"})',
                    f"{_BY_MODEL} serving",
                ),
            ),
        ),
        Panel(
            "Granted part of each GPU",
            "percentunit",
            (
                Query(
                    "sum by (node, device) (device_model:kneescale_granted_gpu:ratio_rate5m)",
                    _BY_DEVICE,
                ),
            ),
            help="GPU area that grants held; the rest lay idle.",
        ),
        Panel(
            "Idle part of each GPU",
            "percentunit",
            (Query("device:kneescale_idle_gpu:ratio_rate5m", _BY_DEVICE),),
        ),
        Panel("Healthy GPUs", "none", (Query("sum(kneescale_device_healthy)", "healthy"),), kind="stat"),
        Panel("Plan time", "s", _quantiles("kneescale_plan_seconds", "")),
        Panel(
            "Reconcile cycles",
            "ops",
            (Query(_rate("kneescale_reconciles_total", "", "result"), "{{result}}"),),
        ),
        Panel(
            "Decisions", "ops", (Query(_rate("kneescale_events_total", "", "type", "reason"), "{{reason}}"),)
        ),
    ),
)

MODEL = Dashboard(
    uid="kneescale-model",
    title="Kneescale: model",
    variables=(
        Variable("namespace", "kneescale_model_info"),
        Variable("model", 'kneescale_model_info{namespace="$namespace"}'),
    ),
    panels=(
        Panel(
            "SLO attainment and what is promised",
            "percentunit",
            (
                Query(f"model:kneescale_slo_attainment:ratio_rate5m{{{_MODEL}}}", "5 minutes"),
                Query(f"model:kneescale_slo_attainment:ratio_rate1h{{{_MODEL}}}", "1 hour"),
                Query(f"1 - model:kneescale_slo_error_budget:ratio{{{_MODEL}}}", "promised"),
            ),
        ),
        Panel(
            "Latency and SLO",
            "s",
            (
                *_quantiles("kneescale_worker_request_seconds", _MODEL),
                Query(f"max(kneescale_model_slo_seconds{{{_MODEL}}})", "SLO"),
            ),
        ),
        Panel(
            "Latency as part of the SLO",
            "percentunit",
            _quantiles("kneescale_worker_request_slo_ratio", _MODEL),
        ),
        Panel(
            "Requests by outcome",
            "reqps",
            (Query(_rate("kneescale_worker_requests_total", _MODEL, "outcome"), "{{outcome}}"),),
        ),
        Panel(
            "Drops by reason",
            "reqps",
            (Query(_rate("kneescale_worker_dropped_requests_total", _MODEL, "reason"), "{{reason}}"),),
        ),
        Panel("Queued items", "none", (Query(f"model:kneescale_queued_items:sum{{{_MODEL}}}", "queued"),)),
        Panel("Grant latency", "s", _quantiles("kneescale_worker_grant_wait_seconds", _MODEL)),
        Panel(
            "Items per batch",
            "none",
            (
                *_quantiles("kneescale_worker_batch_items", _MODEL),
                Query(f"max(kneescale_model_planned_batch_items{{{_MODEL}}})", "planned"),
            ),
        ),
        Panel(
            "Batch time",
            "s",
            (
                *_quantiles("kneescale_worker_batch_seconds", _MODEL),
                Query(f"max(kneescale_model_planned_batch_seconds{{{_MODEL}}})", "planned batch"),
            ),
        ),
        Panel(
            "Batch time over what its grant predicted",
            "none",
            _quantiles("kneescale_worker_batch_plan_ratio", _MODEL),
        ),
        Panel(
            "Workers by state",
            "none",
            (
                Query(f"sum by (state) (kneescale_model_replicas{{{_MODEL}}})", "{{state}}"),
                Query(f"sum(kneescale_model_desired_replicas{{{_MODEL}}})", "desired"),
            ),
        ),
        Panel(
            "GPU area, by GPU",
            "percentunit",
            (
                Query(
                    f"device_model:kneescale_granted_gpu:ratio_rate5m{{{_MODEL}}}", f"{_BY_DEVICE} granted"
                ),
                Query(f"device_model:kneescale_used_gpu:ratio_rate5m{{{_MODEL}}}", f"{_BY_DEVICE} used"),
            ),
        ),
    ),
)

GPU = Dashboard(
    uid="kneescale-gpu",
    title="Kneescale: GPU",
    variables=(
        Variable("node", "kneescale_device_healthy"),
        Variable("device", 'kneescale_device_healthy{node="$node"}'),
    ),
    panels=(
        Panel(
            "GPU area granted, by model",
            "percentunit",
            (Query(f"device_model:kneescale_granted_gpu:ratio_rate5m{{{_GPU}}}", _BY_MODEL),),
        ),
        Panel(
            "GPU area used, by model",
            "percentunit",
            (Query(f"device_model:kneescale_used_gpu:ratio_rate5m{{{_GPU}}}", _BY_MODEL),),
            help="While batches ran: the difference to what was granted is the way to the worker and back.",
        ),
        Panel(
            "Idle, and held now",
            "percentunit",
            (
                Query(f"device:kneescale_idle_gpu:ratio_rate5m{{{_GPU}}}", "idle"),
                Query(f"max(kneescale_device_granted_ratio{{{_GPU}}})", "held now"),
            ),
        ),
        Panel(
            "Grants", "ops", (Query(_rate("kneescale_grants_total", _GPU, "namespace", "model"), _BY_MODEL),)
        ),
        Panel(
            "Items granted",
            "ops",
            (Query(_rate("kneescale_granted_items_total", _GPU, "namespace", "model"), _BY_MODEL),),
        ),
        Panel(
            "Items refused",
            "ops",
            (Query(_rate("kneescale_refused_items_total", _GPU, "namespace", "model"), _BY_MODEL),),
        ),
        Panel("Queued items", "none", (Query(f"kneescale_queued_items{{{_GPU}}}", _BY_MODEL),)),
        Panel(
            "Overruns",
            "ops",
            (Query(_rate("kneescale_overruns_total", _GPU, "namespace", "model"), _BY_MODEL),),
        ),
        Panel(
            "Batch time over what the surface predicts",
            "none",
            (Query(f"kneescale_latency_ratio{{{_GPU}}}", _BY_MODEL),),
        ),
        Panel(
            "Healthy",
            "bool_yes_no",
            (Query(f"min(kneescale_device_healthy{{{_GPU}}})", "healthy"),),
            kind="stat",
        ),
        Panel(
            "Workers connected",
            "none",
            (Query(f"sum(kneescale_worker_connected{{{_GPU}}})", "connected"),),
            kind="stat",
        ),
        Panel(
            "Contexts lost",
            "none",
            (Query(f"sum(kneescale_device_context_losses_total{{{_GPU}}})", "since the agent started"),),
            kind="stat",
        ),
    ),
)

DASHBOARDS = (FLEET, MODEL, GPU)
