"""Exact worlds, where scores, posteriors and the constant of Eq. (6) have closed forms.

law                what all share;   mixture   Gaussian mixtures with labels
linear_gaussian    Gaussian data and linear codes, solved;   linear_code   trained
empirical          weight 1/N on each image of a data set
floor              the least denoising loss;   schedule   of anybody's model, at anybody's t
growth             how the floor rises with the number of images
"""

from scorerep.worlds.empirical import EmpiricalLaw
from scorerep.worlds.law import ClassMoments, Estimate, ExactLaw
from scorerep.worlds.linear_code import LinearCode, train_linear_code
from scorerep.worlds.linear_gaussian import LinearGaussian
from scorerep.worlds.mixture import GaussianMixture, labelled_quartet, ring

__all__ = [
    "ClassMoments",
    "EmpiricalLaw",
    "Estimate",
    "ExactLaw",
    "GaussianMixture",
    "LinearCode",
    "LinearGaussian",
    "labelled_quartet",
    "ring",
    "train_linear_code",
]
