"""The operator: watches the cluster, asks the plan what it should be, and applies the difference."""
