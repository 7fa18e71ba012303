"""Training in the authors' two stages, and what measures the result."""

import os

# MKL's sums over several threads differ from run to run unless it is told otherwise, and a resumed run is to be the very run that was
# never stopped. Read at the process's first matrix product.
os.environ.setdefault("MKL_CBWR", "AUTO")
