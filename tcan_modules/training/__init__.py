"""Training in the authors' two stages, and metrics of the result."""

import os

# Without it MKL's sums over several threads differ from run to run, and a resumed run would differ from an uninterrupted one. MKL reads
# it at the process's first matrix product.
os.environ.setdefault("MKL_CBWR", "AUTO")
