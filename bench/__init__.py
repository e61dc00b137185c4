"""Benchmarks: one file a question, against the peers and the physical limit of the same run."""

import os
import sys

# numpy is a peer, so it gets the kernels that its BLAS would choose for this CPU by itself, and as
# many threads as the hanse call beside it: one. OpenBLAS reads these when numpy is first imported.
if "numpy" not in sys.modules:
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
