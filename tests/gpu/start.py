"""Starts the host with flags of its command line, which it reads only once."""

import atexit
import shutil
import tempfile

from tests.helpers import host as in_process
from tests.helpers.host import Host


def start(cpu: bool, *flags: str) -> Host:
    """ComfyUI in this process; nobody opens its web page, so an empty folder stands for it and its package need not be there."""
    page = tempfile.mkdtemp(prefix="tcan-no-page-")
    atexit.register(shutil.rmtree, page, ignore_errors=True)
    in_process.FLAGS = (*in_process.FLAGS, "--front-end-root", page, *flags)
    return in_process.boot(cpu=cpu)
