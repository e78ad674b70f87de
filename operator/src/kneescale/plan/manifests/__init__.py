"""Manifests of what runs a model, as the plan wants them."""
