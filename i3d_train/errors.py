"""What only training can raise; the tree's root and the rest are in `preprocess.errors`."""

from preprocess.errors import KineflowError


class TrainingDiverged(KineflowError):
    """The loss or a gradient is not a finite number; the network was left as it was before that step."""

    code = "diverged"
