"""Kubernetes clusters for the demo and the end-to-end tests, behind one port: local, kind or existing."""
