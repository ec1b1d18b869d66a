"""Guidance (Section 2.1): a classifier that knows the noise level, and scores that it steers.

classifier         NoisyClassifier, p_t(y | x_t), and its training
guides             guided_score, from a classifier, an exact law or two score models
classifier_free    free_guided_score, from one network trained with code dropout
"""

from scorerep.guidance.classifier import (
    ClassifierConfig,
    CrossEntropy,
    NoisyClassifier,
    fit_classifier,
)
from scorerep.guidance.classifier_free import free_guided_score
from scorerep.guidance.guides import Guide, LawClassifier, ScoreDifference, guided_score, load_pair

__all__ = [
    "ClassifierConfig",
    "CrossEntropy",
    "Guide",
    "LawClassifier",
    "NoisyClassifier",
    "ScoreDifference",
    "fit_classifier",
    "free_guided_score",
    "guided_score",
    "load_pair",
]
