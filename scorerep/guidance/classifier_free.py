"""Classifier-free guidance in one network, of labels or of a learned code (Ho and Salimans, 2022).

    s_w(x_t, z) = (1 − w) ∇ log p_t(x_t) + w ∇ log p_t(x_t | z)

Both scores are one network's, trained with ``code_dropout``: with z, and with z left out. For two
networks see ``ScoreDifference``. w = 0 leaves the code out, 1 is the conditional score, and beyond
1 the samples are pushed away from what all codes have in common; that is the score of no diffused
law.
"""

import torch

from scorerep.model import ScoreModel
from scorerep.sampling import Score
from scorerep.types import Codes, Data, Labels, Level, checks


def free_guided_score(model: ScoreModel, z: Codes | Labels, weight: float = 1.0) -> Score:
    """(x_t, t) -> s_w(x_t, z) of a ``model`` with ``code_dropout``, for any sampler.

    Args:
        z: a code for each item of the batch, or its label, or one label for all.
        weight: w, a finite number; 0 and 1 cost one evaluation of the network a step, others one
            of twice the batch.

    ``ValueError``: a model that was never asked without its z in training.
    """
    if not isinstance(model, ScoreModel) or not model.config.code_dropout:
        raise ValueError(
            "model must be a score model trained with code_dropout above 0: no other network "
            "knows the score without z"
        )
    weight = checks.number("weight", weight)
    if z is None:
        raise ValueError("z must be given: without it there is nothing to guide to")
    z = torch.as_tensor(z)
    if weight == 0:
        return lambda x_t, t: model.score(x_t, t)
    if weight == 1:
        return lambda x_t, t: model.score(x_t, t, z)

    def guided(x_t: Data, t: Level) -> Data:
        n = len(x_t)
        each = z.expand(n) if z.ndim == 0 else z
        twice = torch.cat([x_t, x_t])
        left_out = torch.arange(2 * n, device=x_t.device) < n
        t = t.repeat(2) if isinstance(t, torch.Tensor) and t.ndim else t
        without, told = model.score(twice, t, torch.cat([each, each]), left_out).split(n)
        return without + weight * (told - without)

    return guided
