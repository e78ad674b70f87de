"""The environment variables that tell a worker what it runs, where and on which terms.

The operator writes the first ones into its pod, the agent the next ones as it prepares the pod's claim; the
last ones have defaults that suit a pod, for those who run a worker without one.
"""

MODEL_NAME = "KNEESCALE_MODEL_NAME"
MODEL_URI = "KNEESCALE_MODEL_URI"
MODEL_FORMAT = "KNEESCALE_MODEL_FORMAT"
#: The most items in one batch.
MAX_BATCH = "KNEESCALE_MAX_BATCH"

#: The agent's grant socket.
SOCKET = "KNEESCALE_SOCKET"
BACKEND = "KNEESCALE_BACKEND"
DEVICE = "KNEESCALE_DEVICE"
PRODUCT = "KNEESCALE_PRODUCT"
TIER = "KNEESCALE_TIER"
#: GPU% with commas between them.
LANES = "KNEESCALE_LANES"
#: Of the whole device; 0 where it has none.
SM_COUNT = "KNEESCALE_SM_COUNT"
#: The folder with the id of the worker's SM partition, in the tier that has them.
SM_PARTITION_DIR = "KNEESCALE_SM_PARTITION_DIR"
#: Numbers of the device's CPUs with commas between them; empty where it is no CPU.
CORES = "KNEESCALE_CORES"

MODEL_DIR = "KNEESCALE_MODEL_DIR"
HTTP_PORT = "KNEESCALE_HTTP_PORT"
GRPC_PORT = "KNEESCALE_GRPC_PORT"
METRICS_PORT = "KNEESCALE_METRICS_PORT"
QUEUE_LIMIT = "KNEESCALE_QUEUE_LIMIT"
PROFILE_SECONDS = "KNEESCALE_PROFILE_SECONDS"
TERMINATION_PATH = "KNEESCALE_TERMINATION_PATH"
