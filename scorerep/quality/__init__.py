"""How good are samples? By a small classifier trained on real images of the same data set.

    classifier = load_classifier("book/checkpoints/mnist-classifier")
    sure_share(classifier, samples)                       # is it at least 90 % sure of a digit?
    real, fake = (features(classifier, images) for images in (test_images, samples))
    frechet_distance(real, fake), kernel_distance(real, fake)

Both distances compare the classifier's 64 last features of real images and of samples.

Fréchet   between Gaussian fits (Heusel et al., 2017). Few samples bias it upward: compare equal
          numbers, beside held-out real digits (the floor) and draws of one Gaussian fitted to the
          pixels (the ceiling).
kernel    the squared maximum mean discrepancy of a cubic kernel (Bińkowski et al., 2018). Unbiased
          for any number of samples, so that it may come out negative.

Features are this classifier's where published distances have Inception's: values compare with each
other alone. Images are judged where the classifier is, in its precision.

judge    the classifier, and what it says of each image;   distances    between sets of images
"""

from scorerep.quality.distances import (
    Features,
    frechet_distance,
    frechet_interval,
    gaussian_fit,
    kernel_distance,
    kernel_interval,
)
from scorerep.quality.judge import (
    SURE,
    ImageClassifier,
    accuracy,
    class_accuracy,
    features,
    load_classifier,
    probabilities,
    save_classifier,
    sure,
    sure_share,
    train_classifier,
)

__all__ = [
    "SURE",
    "ImageClassifier",
    "Features",
    "accuracy",
    "class_accuracy",
    "features",
    "frechet_distance",
    "frechet_interval",
    "gaussian_fit",
    "kernel_distance",
    "kernel_interval",
    "load_classifier",
    "probabilities",
    "save_classifier",
    "sure",
    "sure_share",
    "train_classifier",
]
