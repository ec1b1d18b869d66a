"""Representation learning with continuous-time score-based generative models, in PyTorch.

    from scorerep import ScoreModel, load_data, sampling

The parts of a score model stand on the first level, and data flow one way through them.

    types         the shape contract, checks of it, and where tensors live
    data          digits, MNIST, CIFAR-10 or pictures of your own, as bytes in memory
    sde           the variance-exploding SDE of the paper (Eqs. 1, 2), VP and sub-VP
    networks      the U-Net and the encoder of the paper (A.1), and a dense network for toys
    model         score, denoise, encode; two parametrisations; weights in a folder
    times         how t is drawn: what the code is steered by
    objective     denoising score matching (Eqs. 4, 5, 7, 8) and its regularisers
    training      the training loop, a generator; how long and how fast
    checkpoint    safetensors and cards
    sampling      five samplers with one signature; the flow from data to noise
    likelihood    log-likelihood by the probability flow

Beside them stand what a code is asked and what a run needs.

    worlds        exact worlds: Gaussian mixtures, Gaussian data, the law of a data set
    codes         scores of codes, attributes, effects, uses, priors, information, other learners
    guidance      the classifier of Section 2.1, and scores that it or an exact law steers
    quality       how good samples of digits are
    plots         the look of the book's pictures
    runs          experiments as values, those of the paper's figures, fit, sweep, costs, cli
    export        the denoiser as ONNX, for other runtimes and for a page

Conventions: images are (batch, channel, height, width) in [−1, 1], times and noise levels
(batch,), codes (batch, latent); σ is in pixel units; information is in nats; squared errors
are averaged over pixels and the batch.
"""

from importlib import import_module

__version__ = "0.2.0"

# Imported when first asked for: ``import scorerep`` alone loads nothing.
_HOME = {
    "EmpiricalLaw": "worlds",
    "Experiment": "runs.experiment",
    "GaussianMixture": "worlds",
    "ImageData": "data",
    "LinearGaussian": "worlds",
    "ModelConfig": "model",
    "Objective": "objective",
    "Optimisation": "training",
    "ScoreModel": "model",
    "SingleTime": "times",
    "SubVPSDE": "sde",
    "UniformSigma": "times",
    "UniformTime": "times",
    "VESDE": "sde",
    "VPSDE": "sde",
    "at_budget": "runs.paper",
    "citation": "checkpoint.hub",
    "encode_in_batches": "codes.scores",
    "fit": "runs.fit",
    "from_dataset": "data",
    "guided_score": "guidance",
    "load_data": "data",
    "load_experiment": "runs.fit",
    "log_likelihood": "likelihood",
    "sweep": "runs.sweep",
    "training_loop": "training",
}
__all__ = [*_HOME]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__():
    return sorted({*globals(), *__all__})
