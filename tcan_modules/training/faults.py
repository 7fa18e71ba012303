"""The error of training data that cannot be used.

It names the file in one sentence, and passes from a process that loads data to the one that trains.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.utils.data import Dataset, default_collate

from ..log import log
from ..values import shown


class DataError(ValueError):
    """Training data that cannot be used; one sentence that names the file."""


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Turn what a library raises while it reads a file into a `DataError`."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # av, PIL and json raise many kinds, also for what is no fault of the file system
        log.debug("reading %s", path, exc_info=True)
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(
            f"'{path}' cannot be read ({shown(reason.splitlines()[0], 160)}): write the file again, or remove it."
        ) from error


class Guarded(Dataset):
    """A data set that returns a `DataError` instead of raising it.

    PyTorch hands an exception of a worker process over as the text of its traceback; `collate` and `raised` carry it as it is.
    """

    def __init__(self, dataset):
        self.dataset = dataset

    def __getitem__(self, number: int):
        try:
            return self.dataset[number]
        except DataError as error:
            return error


def collate(samples: list):
    """A batch of samples, or the first `DataError` among them."""
    return next((sample for sample in samples if isinstance(sample, DataError)), None) or default_collate(samples)


def raised(batches: Iterator):
    """The next batch.

    Raises:
        DataError: a sample could not be read, or a process that loads data ended.
    """
    try:
        batch = next(batches)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error) or "Traceback" in str(error):
            raise
        raise DataError(
            f"A process that loads training data ended ({shown(str(error).splitlines()[0], 160)}): give fewer --workers, which need less"
            " memory, and run the same command again."
        ) from error
    if isinstance(batch, DataError):
        raise batch
    return batch
