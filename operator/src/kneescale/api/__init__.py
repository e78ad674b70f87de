"""Custom resources and the parts of Kubernetes objects that Kneescale reads, as frozen dataclasses."""
