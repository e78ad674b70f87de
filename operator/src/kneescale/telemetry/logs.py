"""How log lines look: one JSON object each, with what it is about as fields of their own."""

import json
import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime

#: What every record has; what it has besides came as `extra`.
_OWN = logging.makeLogRecord({}).__dict__.keys() | {"message", "asctime"}


class JsonLines(logging.Formatter):
    """Formats a record; `about` is what all lines of this process are about."""

    def __init__(self, about: Mapping[str, str]) -> None:
        super().__init__()
        self._about = about

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever is in the message."""
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "severity": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._about,
            **{name: value for name, value in record.__dict__.items() if name not in _OWN},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(**about: str) -> None:
    """Log from INFO on to stderr; every line has these fields, such as the model and the device.

    An error that nobody caught in a thread is such a line too.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(about))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    threading.excepthook = _log_uncaught


def _log_uncaught(failure: threading.ExceptHookArgs) -> None:
    name = failure.thread.name if failure.thread else "that ended"
    logging.getLogger(__name__).error("the thread %s failed", name, exc_info=failure.exc_value)
