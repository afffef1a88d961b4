"""What holds for every test: poisoned memory, and interrupts that arrive.

Unwritten runtime memory is made NaN, so that a kernel which reads it shows. A shell that starts a
run in the background has it ignore interrupts; tests that send them need them.
"""

import os
import signal

os.environ.setdefault("SALA_POISON", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
