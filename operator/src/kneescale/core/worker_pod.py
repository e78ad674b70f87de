"""What is the same in every worker's pod: its ports, and where something lies."""

HTTP_PORT, GRPC_PORT, METRICS_PORT = 8000, 8001, 8002
#: The folder with the model.
MODEL_DIR = "/model"
#: The file with the id of the worker's SM partition, in the folder that is mounted for it.
SM_PARTITION_ID_FILE = "id"
