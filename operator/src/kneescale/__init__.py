"""Kneescale: GPU sharing for DNN inference on Kubernetes."""
