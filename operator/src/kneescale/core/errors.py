"""Every error that the core raises; handlers map them to kopf errors, transports to status codes."""


class KneescaleError(Exception):
    """Base of all; the message is one line that a person can act on."""


class InvalidInputError(KneescaleError):
    """Something that came in from outside is wrong; the message says what to change."""


class InfeasibleError(KneescaleError):
    """No configuration or placement meets the demand; the message holds the numbers."""


class ProtocolError(KneescaleError):
    """A peer on the grant socket sent bytes that are no message of this version."""
