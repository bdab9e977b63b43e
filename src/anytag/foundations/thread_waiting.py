"""How OpenMP's threads, with which PyTorch computes, wait for each other.

By default they spin for milliseconds. A waiting thread then keeps a processor busy, and if other programs run as well,
the thread it waits for does not get one: a training step takes seven times as long or more. If threads sleep at once, a
step takes up to a quarter longer on an idle machine, since waking a thread takes as long as a small product
(``benchmarks/thread_waiting.py``).

OpenMP reads the variables when it is loaded, so call these functions before importing PyTorch.
"""

from __future__ import annotations

import os
import sys

#: If the user has set one of these, nothing is changed.
_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_CHOSEN_BY_USER = any(name in os.environ for name in _VARIABLES)

#: Iterations of GNU OpenMP's waiting loop; 0.2 milliseconds. As fast as the default of 300,000.
_SPINS = 10_000


def wait_passively() -> None:
    """Let waiting threads sleep, unless the user has decided otherwise."""
    if not _CHOSEN_BY_USER:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ["KMP_BLOCKTIME"] = "0"  # The same for Intel's and LLVM's OpenMP.


def spin_briefly() -> bool:
    """Let threads spin for a moment before they sleep, if the spinning can be stopped when others need the processors.

    Returns:
        Whether they spin; the caller then has to watch the load (:func:`anytag.nn.spinning.spinning_while_idle`).
    """
    if _CHOSEN_BY_USER or sys.platform != "linux":
        return False
    os.environ["GOMP_SPINCOUNT"] = str(_SPINS)
    return True
