"""Starts the host with flags of its command line, which it reads only once."""

import tempfile

from tests import host as in_process
from tests.gpu.card import Card
from tests.host import Host


def start(card: Card, *flags: str) -> Host:
    """ComfyUI in this process, on the card; its web page is not needed, so an empty folder stands for it."""
    page = tempfile.mkdtemp(prefix="tcan-no-page-")
    in_process.FLAGS = (*in_process.FLAGS, "--front-end-root", page, *card.flags, *flags)
    return in_process.boot(cpu=card.is_rehearsal)
