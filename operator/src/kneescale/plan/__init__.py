"""The plan: from the cluster as observed to the cluster as desired; pure, level-based, idempotent."""

from kneescale.plan.planner import plan

__all__ = ["plan"]
