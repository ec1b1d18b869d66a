"""Images in memory: digits, MNIST and CIFAR-10, checked against published sums.

images     ImageData, bytes with labels;   sources   load_data
batches    what training asks of a data set, and the order in which it sees it
"""

from scorerep.data.batches import Batches, batch_indices
from scorerep.data.images import ImageData, to_float, to_uint8
from scorerep.data.sources import DATASETS, DataError, data_root, load_data

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
