"""Why a request or a start-up fails; the transports map these to status codes, main to exit codes."""

from kneescale.core.errors import KneescaleError


class ModelNotFoundError(KneescaleError):
    """The request names another model or version than the one served here."""


class QueueFullError(KneescaleError):
    """The queue holds as many items as it may; the client should back off."""


class TooLateError(KneescaleError):
    """The request cannot be answered within its SLO any more: more is asked of the GPU than it can do."""


class UnavailableError(KneescaleError):
    """The model is not loaded yet, or the worker is about to exit; another replica may answer."""


class BatchFailedError(KneescaleError):
    """The batch that held items of this request failed while it ran."""


class UnwritableAnswerError(KneescaleError):
    """The model's answer cannot be written in the form that was asked for.

    A failure of the worker (500), not of the request: nothing in that foretold it, and a model that comes to
    such values should show in its SLO.
    """


class ExecutorError(KneescaleError):
    """A batch could not be run on its lane."""


class HungError(KneescaleError):
    """A batch never ended; only a new process is of use."""


class ContextLostError(KneescaleError):
    """What the worker held on the GPU is lost, or runs no batch any more; only a new process is of use."""


class LoadError(KneescaleError):
    """The model cannot be loaded or run; the message is one line for the InferenceModel's condition."""


class AgentError(KneescaleError):
    """The node's agent did not answer in time."""
