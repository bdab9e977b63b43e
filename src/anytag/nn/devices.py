"""Find PyTorch's device for a user's name."""

from __future__ import annotations

import torch

from anytag.errors import ModelError

#: Supported kinds of devices; some take a number, as in ``cuda:1``.
_DEVICES = ("cpu", "cuda", "mps", "xpu")


def find_device(name: str) -> torch.device:
    """Find a device by name: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``xpu``.

    Raises:
        ModelError: If it is unknown or not available.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if name.partition(":")[0] not in _DEVICES:
            raise ModelError(f"unknown device {name!r}; PyTorch runs models on {', '.join(_DEVICES)}") from None
        reason = str(error).splitlines()[0].partition(". ")[0]
        advice = ""
        if name.startswith("cuda") and not torch.backends.cuda.is_built():
            reason = "the PyTorch that is installed runs on the processor only"
            advice = ". Choose one for CUDA at https://pytorch.org/get-started and install it"
        elif name.startswith("cuda") and not torch.cuda.is_available():
            advice = ". It needs an NVIDIA card and NVIDIA's driver (nvidia-smi shows them)"
        raise ModelError(f"device {name!r} is not available to PyTorch here: {reason}{advice}") from error
    return device
