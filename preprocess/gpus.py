"""How many GPUs there are, asked before anything waits for one."""

from preprocess.errors import EnvironmentProblem, InvalidInput


def require_gpus(wanted: int) -> None:
    """Make sure that `wanted` GPUs can be used on this machine.

    Raises:
        InvalidInput: fewer than one wanted.
        EnvironmentProblem: fewer are there, or none can be used for want of CuPy or a driver.
    """
    if wanted < 1:
        raise InvalidInput(f"--gpus must be at least 1, got {wanted}; use --cpus to run without a GPU")
    found, reason = _count_gpus()
    if found < wanted:
        remedy = f"--gpus {found} or --cpus N" if found else "--cpus N"
        raise EnvironmentProblem(f"--gpus {wanted} was asked for, {found} can be used here{reason}; use {remedy}")


def _count_gpus() -> tuple[int, str]:
    try:
        import cupy
    except ImportError as error:
        return 0, f" (CuPy is missing: {error}; pip install 'kineflow[cuda13]')"
    try:
        return int(cupy.cuda.runtime.getDeviceCount()), ""
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return 0, f" ({error})"
