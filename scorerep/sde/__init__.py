"""How noise is added and removed: the paper's variance-exploding SDE, VP and sub-VP.

linear    what all share: perturbation kernel, reverse drift, probability flow, prior
ve        VESDE, the paper's;   vp   VPSDE and SubVPSDE
tensors   levels as tensors, checks that never wait for an accelerator
"""

from scorerep.sde.linear import T_MIN, LinearSDE, need_linear
from scorerep.sde.tensors import as_level, expand_as
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
