"""One logger for the whole pack; every line in the console begins with ``[TCAN]``."""

import logging

PREFIX = "[TCAN] "


class _Prefix(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith(PREFIX):
            record.msg = f"{PREFIX}{record.msg}"
        return True


log = logging.getLogger("TCAN")
log.addFilter(_Prefix())
