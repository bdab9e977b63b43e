"""How the threads of OpenMP, which PyTorch computes with, wait for each other.

By default they spin for milliseconds. A thread that waits for another one then keeps a processor busy, and where other
programs run beside it, the thread that is waited for does not get one: a step of training takes seven times as long or
more. If they sleep at once, a step takes up to a quarter longer on an idle machine, since waking a thread takes as long
as a small product (``benchmarks/thread_waiting.py``).

OpenMP reads the variables when it is loaded. So all of this has to be called before PyTorch is imported.
"""

from __future__ import annotations

import os
import sys

#: What users set who have an opinion of their own.
_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_CHOSEN_BY_USER = any(name in os.environ for name in _VARIABLES)

#: Turns of the loop in which the threads of GNU's OpenMP wait; 0.2 milliseconds. As fast as the default of 300,000.
_SPINS = 10_000


def wait_passively() -> None:
    """Let threads sleep while they wait, unless the user decides otherwise."""
    if not _CHOSEN_BY_USER:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ["KMP_BLOCKTIME"] = "0"  # The same for Intel's and LLVM's OpenMP.


def spin_briefly() -> bool:
    """Let threads spin for a moment before they sleep, where it can be stopped when others need the processors.

    Returns:
        Whether they do; then somebody has to watch (:func:`anytag.nn.spinning.spinning_while_idle`).
    """
    if _CHOSEN_BY_USER or sys.platform != "linux":
        return False
    os.environ["GOMP_SPINCOUNT"] = str(_SPINS)
    return True
