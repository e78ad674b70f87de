"""What is generated of the metrics: their page, the PrometheusRule, the dashboards."""
