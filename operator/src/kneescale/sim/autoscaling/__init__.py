"""Autoscalers at work in the simulator: what they see, what they ask for, and what becomes of requests."""
