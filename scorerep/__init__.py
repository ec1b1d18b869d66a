"""Representation learning with continuous-time score-based generative models, in PyTorch.

Data flow one way through the modules; each can be read alone.

    types             the shape contract
    data, images      digits, MNIST, CIFAR-10, as bytes in memory
    sde               linear SDEs and the variance-exploding one of the paper (Eqs. 1, 2)
    mixture           exact worlds: Gaussian mixtures with labels,
    linear_gaussian       Gaussian data and linear codes,
    empirical             the law that puts weight 1/N on each image of a data set
    layers, network   the U-Net of the paper (A.1), and a dense network for toys
    encoder           the encoder E_φ(x_0)
    model             score, denoise, encode; two parametrisations; weights in a folder
    times             how t is drawn: what the code is steered by
    objective         denoising score matching (Eqs. 4, 5, 7, 8) and its regularisers
    optimisation      how long and how fast; optimisers: Adam, and Muon for matrices
    training          the training loop, a generator
    checkpoint        safetensors and cards
    sampling          five samplers with one signature
    likelihood        log-likelihood by the probability flow
    evaluation        scores of codes; attributes: stroke width and the like
    information       what is known at which noise level, in nats
    vp                variance-preserving SDEs, in the same interface
    conditioning      samples of codes: what a code does for denoising, and what it leaves open
    quality           how good samples of digits are
    baselines         autoencoders, β-VAE and PCA with the same encoder and interface
    time_codes        codes that depend on time; features of a network that has no code
    noisy_classifier, guidance
                      the classifier of Section 2.1, and scores that it or an exact law steers
    adversary         a weighting λ(t) that plays against the model
    claims            the paper's claims, and what the result tables say of them
    figures           the look of the book's pictures
    experiments       a run is a value; runs: those of the paper's figures, at three budgets
    fit, sweep        run one into a folder, or one for each noise level; cli: the command line
    costs             what a run costs, in counted operations
    export            the denoiser as ONNX, for other runtimes and for a page

Conventions: images are (batch, channel, height, width) in [−1, 1], times and noise levels
(batch,), codes (batch, latent); σ is in pixel units; information is in nats; squared errors
are averaged over pixels and the batch. Import from the modules: ``from scorerep.sde import VESDE``.
"""

__version__ = "0.1.0"
