"""The lines of the local log: one JSON object each, so that ``jq`` reads them."""

import json
import logging
from datetime import UTC, datetime
from typing import Any, TextIO


class JsonLines(logging.Formatter):
    """Format a log record as one JSON object on one line.

    ``time`` (UTC) and ``level`` come first. A message that is a JSON object itself, such as that of a request, adds its
    fields; any other becomes ``message``. A traceback becomes ``exception``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without the end of line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
        }
        message = record.getMessage()
        fields = _object(message)
        line |= {"logger": record.name, "message": message} if fields is None else fields
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _object(message: str) -> dict[str, Any] | None:
    if not message.startswith("{"):
        return None
    try:
        found = json.loads(message)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def log_to(stream: TextIO) -> None:
    """Send every log record from level INFO on to `stream`: as text to a terminal, as JSON lines elsewhere."""
    handler = logging.StreamHandler(stream)
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(text if stream.isatty() else JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
