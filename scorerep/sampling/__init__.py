"""Samplers: from noise, or from any x_t in the middle of the diffusion, to an image.

All have one signature,

    sampler(score, sde, x, t=1.0, steps=..., generator=None, progress=False) -> x_0

where ``score`` is a function (x_t, t) -> ∇ log p_t(x_t), for instance an exact world's or
``condition(model, z)``; ``x`` is x_t of shape ``(batch, ...)`` at time ``t`` (draw it with
``sde.prior_sample`` for t = 1). Each ends with the denoising step
x_0 = (x + τ² s(x))/α, the posterior mean, at a noise level too small to see. ``sde`` is any
``LinearSDE``; methods that walk down noise levels do so in x_t/α, where every linear SDE is VE.

All also take

    callback    called as (step, t, x_t) before every step, t a float, and with t = 0 at x_0
    gradient    True keeps the graph, so that x_0 can be differentiated in x or in the score

and ``states(sampler, score, sde, x, ...)`` is a generator of what they go through, (t, x_t,
evaluations so far), for a loop of yours. ``invert`` runs the flow the other way, from x_0 to x_1,
and ``restore`` comes back.

``score`` is asked with x_t in the dtype of ``x`` and with t as a scalar tensor on its device, which
was put there once: no step waits for the device. Half-precision states are kept in float32.

The book needs no more than these five. DPM-Solver++, and the range and factor of the noise in the
stochastic sampler of Karras et al. (2022), are not provided; ``walk.sampler`` makes a sampler of
your own generator of (t, x_t). A seed for each image is a matter of the ``x`` that is given.

samplers    the five;   walk    what they share;   fields    scores as functions of x_t and t
inversion   the flow from data to noise, and back
"""

from scorerep.sampling.fields import Score, condition, denoised, unscaled
from scorerep.sampling.inversion import invert, restore
from scorerep.sampling.samplers import (
    euler_maruyama,
    heun,
    predictor_corrector,
    probability_flow,
    stochastic_heun,
)
from scorerep.sampling.walk import Callback, State, states

__all__ = [
    "Callback",
    "Score",
    "State",
    "condition",
    "denoised",
    "euler_maruyama",
    "heun",
    "invert",
    "predictor_corrector",
    "probability_flow",
    "restore",
    "states",
    "stochastic_heun",
    "unscaled",
]
