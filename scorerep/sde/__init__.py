"""How noise is added and removed: the paper's variance-exploding SDE, VP and sub-VP.

linear    what all share: perturbation kernel, reverse drift, probability flow, prior
ve        VESDE, the paper's;   vp   VPSDE and SubVPSDE
"""

from scorerep.sde.linear import T_MIN, LinearSDE, as_level, expand_as, need_linear
from scorerep.sde.ve import VESDE, need_ve
from scorerep.sde.vp import VPSDE, SubVPSDE

__all__ = [
    "T_MIN",
    "LinearSDE",
    "SubVPSDE",
    "VESDE",
    "VPSDE",
    "as_level",
    "expand_as",
    "need_linear",
    "need_ve",
]
