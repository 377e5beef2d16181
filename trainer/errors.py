"""How a training run ends, beside the errors all commands share.

OpenwitError                3  dataset is not what its manifest says, or cannot be read
    RefusedError            2  usage or configuration
    AccountingError         1  an epoch did not use every sample once
    NonFiniteError          4  loss or gradient is not a finite number
    TooManyBadSamplesError  5  more samples cannot be used than the settings endure
    ResumeRefusedError      6  the checkpoint belongs to another run
    LostRankError           1  another process of the training has ended, or its own code
    StoppedError           75  stopped by a signal, after a checkpoint
"""

from manifests.base.errors import OpenwitError


class NonFiniteError(OpenwitError):
    """Loss or gradient is infinite or not a number; the last checkpoint is untouched."""

    exit_code = 4


class TooManyBadSamplesError(OpenwitError):
    """More samples are bad than `[train.bad]` allows."""

    exit_code = 5


class ResumeRefusedError(OpenwitError):
    """The run cannot go on from this checkpoint with this dataset or these settings."""

    exit_code = 6


class LostRankError(OpenwitError):
    """Another process of the training has gone; the exit code is its own, where it said so."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        """Take what is known of it."""
        super().__init__(message)
        self.exit_code = exit_code


class StoppedError(OpenwitError):
    """A signal asked the run to stop; it can go on from its checkpoint."""

    exit_code = 75
