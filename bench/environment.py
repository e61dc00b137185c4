"""Imported before numpy: as a peer it gets the kernels that its BLAS would choose by itself, and as
many threads as the hanse call beside it, one. OpenBLAS reads these when it is loaded."""

import os
import sys
import warnings

if "numpy" in sys.modules:
    warnings.warn(
        "numpy was imported before the benches: its threads are as they were", stacklevel=1
    )
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
