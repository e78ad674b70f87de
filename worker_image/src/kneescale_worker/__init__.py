"""The worker: Open Inference Protocol server that runs the batches it is granted."""
