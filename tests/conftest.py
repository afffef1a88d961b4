"""Every test runs with unwritten runtime memory made NaN, so that a kernel which reads it shows."""

import os

os.environ.setdefault("SALA_POISON", "1")
