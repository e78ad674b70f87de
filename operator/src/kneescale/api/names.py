"""Names, labels and annotations of everything that Kneescale makes."""

import hashlib
import re

GROUP = "kneescale.dev"
API_VERSION = f"{GROUP}/v1alpha1"
#: The DRA driver, and the DeviceClass of its devices.
DRIVER = "gpu.kneescale.dev"
#: Key of the taint on a sick device; its value says why.
TAINT = f"{DRIVER}/sick"
#: Workers run as this user and group; nobody else may speak on a grant socket.
WORKER_UID = 65532
#: Owner of the fields that the operator writes by server-side apply.
FIELD_MANAGER = "kneescale-operator"

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "kneescale"
MODEL_LABEL = "kneescale.dev/model"
PARTITION_LABEL = "kneescale.dev/partition"
#: "Serve", "Profile", or one of the two below: keeps other pods out of a model's selector.
ROLE_LABEL = "kneescale.dev/role"
#: The role of what reads a model's kernels on a CPU, to predict it.
PREDICT = "Predict"
#: The role of what stays pending for a cluster autoscaler to see.
WANT = "Want"
#: On an EndpointSlice: who keeps it. Those that Kubernetes keeps have a Service's own labels besides.
SLICE_MANAGER_LABEL = "endpointslice.kubernetes.io/managed-by"
#: On a profiling Job, and on one that predicts: the ModelProfile that it will fill.
PROFILE_LABEL = "kneescale.dev/profile"
#: On both: which try this is, from 1.
ATTEMPT_ANNOTATION = "kneescale.dev/attempt"
#: On pods, jobs and claims: uuid of the device that the planner chose (a uuid may be too long for a label).
DEVICE_ANNOTATION = "kneescale.dev/device"

#: Longest InferenceModel name: leaves room for a partition's suffix in a 63-character label.
MAX_MODEL_NAME = 50
_MAX_LABEL = 63


def short_hash(*parts: object, digits: int) -> str:
    """The first hex digits of a SHA-256 over the parts, stable between versions of Python."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()[:digits]


def slug(text: str, max_length: int) -> str:
    """The text in lower-case letters, digits and single dashes, as names of objects allow."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:max_length].strip("-")


def partition_name(model: str, *fixed_at_start: object) -> str:
    """Name of a partition, its pod and its claim: a change of what a worker fixes at start-up renames it."""
    return f"{model}-{short_hash(*fixed_at_start, digits=8)}"


def model_identity(uri: str) -> str:
    """What a profile knows a model by: an image's digest where its URI has one, whatever the registry."""
    _, digest_sign, digest = uri.partition("@sha256:")
    return f"sha256:{digest}" if digest_sign else uri


def profile_name(identity: str, model_format: str, product_name: str) -> str:
    """Name of the ModelProfile of a model on a GPU product; at most 63 characters, so it is a label too."""
    last_part = identity.rstrip("/").rsplit("/", 1)[-1]
    digest = short_hash(identity, model_format, product_name, digits=6)
    return f"{slug(last_part, 30) or 'model'}-{slug(product_name, 24) or 'gpu'}-{digest}"


def profile_job_name(model: str, *fixed_at_start: object) -> str:
    """Name of a profiling Job and its claim; cut so that the Job's pods may carry it as a label."""
    return _job_name(model, f"-profile-{short_hash(*fixed_at_start, digits=8)}")


def prediction_job_name(model: str, *fixed_at_start: object) -> str:
    """Name of a Job that predicts, likewise."""
    return _job_name(model, f"-predict-{short_hash(*fixed_at_start, digits=8)}")


def _job_name(model: str, suffix: str) -> str:
    return model[: _MAX_LABEL - len(suffix)].rstrip("-") + suffix


def schedule_name(node: str, device: str) -> str:
    """Name of a device's GPUSchedule."""
    return f"{node}-{device}"


def want_name(model: str, number: int) -> str:
    """Name of the claim and the pod that ask for the model's so-many-th GPU more, from 1."""
    return f"{model}-wanted-{number}"
