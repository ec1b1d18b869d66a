"""Images in memory: digits, MNIST and CIFAR-10, checked against published sums, or your own.

images     ImageData, bytes with labels;   sources   load_data;   download   mirrors, locks
shipped    what comes with the book: MNIST, and a part of CIFAR-10
own        your own pictures: folders, arrays (.npz), data sets in Python; what becomes of pictures
batches    what training asks of a data set, and the order in which it sees it
"""

from scorerep.data.arrays import every_fifth
from scorerep.data.batches import Batches, PointData, batch_indices
from scorerep.data.images import DataError, ImageData, to_float, to_uint8
from scorerep.data.own import from_dataset
from scorerep.data.sources import DATASETS, data_root, load_data

__all__ = [
    "Batches",
    "DATASETS",
    "DataError",
    "ImageData",
    "PointData",
    "batch_indices",
    "data_root",
    "every_fifth",
    "from_dataset",
    "load_data",
    "to_float",
    "to_uint8",
]
