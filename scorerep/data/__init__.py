"""Images in memory: digits, MNIST and CIFAR-10, checked against published sums.

<<<<<<< Updated upstream
images     ImageData, bytes with labels;   sources   load_data
batches    the order in which training sees them
=======
    images     ImageData, bytes with labels;   sources   load_data
    shipped    what comes with the book: MNIST, and a part of CIFAR-10
    batches    the order in which training sees them
>>>>>>> Stashed changes
"""

from scorerep.data.batches import batch_indices
from scorerep.data.images import DataError, ImageData, to_float, to_uint8
from scorerep.data.sources import DATASETS, data_root, load_data

__all__ = [
    "DATASETS",
    "DataError",
    "ImageData",
    "batch_indices",
    "data_root",
    "load_data",
    "to_float",
    "to_uint8",
]
