"""Images in memory: digits, MNIST and CIFAR-10, checked against published sums.

images     ImageData, bytes with labels;   sources   load_data;   download   mirrors, locks
shipped    what comes with the book: MNIST, and a part of CIFAR-10
batches    what training asks of a data set, and the order in which it sees it
"""

from scorerep.data.batches import Batches, batch_indices
from scorerep.data.images import DataError, ImageData, to_float, to_uint8
from scorerep.data.sources import DATASETS, data_root, load_data

__all__ = [
    "Batches",
    "DATASETS",
    "DataError",
    "ImageData",
    "batch_indices",
    "data_root",
    "load_data",
    "to_float",
    "to_uint8",
]
