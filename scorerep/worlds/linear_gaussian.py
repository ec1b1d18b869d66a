"""Linear-Gaussian representation learning, solved exactly.

For data N(0, Σ) and a linear code z = A x_0 Eq. (8) is linear algebra. With S = Cov(x_0 | z),

    E[x_0 | x_t, z] = m_z + S (S + τ² I)⁻¹ (x_t − m_z),      m_z = E[x_0 | z],
    C(τ | z) = tr[S (S + τ² I)⁻¹] / τ²,

and a principal direction of variance v that is in the code gains v/(τ²(v + τ²)). The best
code keeps the directions of largest variance *at every τ*; what τ decides is how much
that matters: all directions gain alike where τ² ≪ v, and in proportion to v where τ² ≫ v.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from scorerep.objective import root_weight
from scorerep.sde import T_MIN, LinearSDE
from scorerep.times import SingleTime, TimeDistribution
from scorerep.types import Codes, Level, Points, Times, checks
from scorerep.types.devices import normal

Code = Float[Tensor, "latent dimension"]  # A of z = A x_0


class LinearGaussian:
    """Data N(0, Σ) in d dimensions.

    Args:
        variances: (d,) for a diagonal Σ, or Σ itself, (d, d), positive definite. Draws have its
            dtype (float64 for a list), all else is done in float64.

    A code is a matrix A, ``(latent, d)``, of any rank; None is no code. Constants are sums over
    the d coordinates, as in the paper's ‖·‖²; objectives are means over them, as in this package.
    Directions come in the order of a diagonal Σ, by falling variance otherwise.
    """

    def __init__(self, variances):
        self.dtype = variances.dtype if isinstance(variances, Tensor) else torch.float64
        given = torch.as_tensor(variances, dtype=torch.float64).cpu()
        if given.ndim not in (1, 2) or given.shape[0] != given.shape[-1] or len(given) == 0:
            raise ValueError(f"variances must be (d,) or (d, d), got {tuple(given.shape)}")
        self.dimension = len(given)
        self.variances, self.directions = given, torch.eye(len(given), dtype=torch.float64)
        if given.ndim == 2:
            values, vectors = torch.linalg.eigh(given)
            self.variances, self.directions = values.flip(0), vectors.flip(1).T
        symmetric = given.ndim == 1 or torch.allclose(given, given.T, atol=1e-6)
        if not symmetric or not bool((self.variances > 0).all()):
            raise ValueError("variances must be positive; a matrix symmetric, positive definite")

    def sample(self, n: int, generator: Generator | None = None) -> Points:
        """n draws of x_0."""
        n = checks.whole("n", n, 0)
        noise = normal((n, self.dimension), self.variances, generator)
        return (noise * self.variances.sqrt() @ self.directions).to(self.dtype)

    def principal_code(self, latent: int) -> Code:
        """Projection on the ``latent`` directions of largest variance: the optimum of Eq. (8)."""
        latent = checks.whole("latent", latent, 0, self.dimension)
        return self.directions[self.variances.argsort(descending=True, stable=True)[:latent]]

    def conditional_covariance(self, code: Code | None) -> Float[Tensor, "dimension dimension"]:
        """S = Cov(x_0 | z) = Σ − ΣAᵀ(AΣAᵀ)⁺AΣ."""
        root, _, known = self._regression(code)
        unknown = root - known @ (known.T @ root)
        return unknown.T @ unknown

    def kept(self, code: Code) -> Float[Tensor, " dimension"]:
        """Share of each direction's variance that the code explains; the sum is the rank of A."""
        return self._regression(code)[2].square().sum(1)

    def gain(self, tau: Level) -> Float[Tensor, "*levels dimension"]:
        """v/(τ²(v + τ²)), what C(τ) falls by when a direction is in the code; τ > 0."""
        tau2 = _positive(tau).square()[..., None]
        return self.variances / (tau2 * (self.variances + tau2))

    def constant(self, tau: Level, code: Code | None = None) -> Tensor:
        """C(τ | z) = tr[S(S + τ²I)⁻¹]/τ², of the shape of τ > 0.

        For a projection on directions this is the sum of ``gain`` over those it discards.
        """
        tau2, s = _positive(tau).square()[..., None], self._spectrum(code)
        return (s / (tau2 * (s + tau2))).sum(-1)

    def information(self, a: float, b: float, code: Code) -> float:
        """I(z; x_a) − I(z; x_b) in nats, for kernels of standard deviation 0 < a < b ≤ ∞.

        By I-MMSE equal to ½ ∫ [C(τ) − C(τ | z)] d(τ²) from a to b. As a → 0 it grows without
        bound: a code without noise tells arbitrarily much about continuous data.
        """
        if not 0 < a < b:
            raise ValueError(f"information needs 0 < a < b, got a={a} and b={b}")
        levels = torch.tensor([a, b], dtype=torch.float64).square()[:, None]
        total, left = (
            torch.log1p(v / levels).sum(1) for v in (self.variances, self._spectrum(code))
        )
        at_a, at_b = (0.5 * (total - left)).tolist()
        return at_a - at_b

    def objective(
        self, sde: LinearSDE, times: TimeDistribution, code: Code | None = None,
        weighting: str = "tau2",
    ) -> float:  # fmt: skip
        """E_t[λ C(t | z)] / d, the least of Eq. (8) for this code; λ = τ² or σ² ("sigma2")."""
        t, probability = _quadrature(times)
        constant = self.constant(sde.level(t), code) / sde.alpha(t).square()  # in x_t, not x_t/α
        values = root_weight(sde, t, weighting).square() * constant
        return float((probability * values).sum()) / self.dimension

    def optimal_objective(
        self, sde: LinearSDE, times: TimeDistribution, latent: int, weighting: str = "tau2"
    ) -> float:
        """Minimum of Eq. (8) over linear codes of ``latent`` dimensions and all score models.

        The mean gain of the directions of smallest variance is left: no code leaves S with smaller
        eigenvalues (Cauchy's interlacing), and the gain increases with v.
        """
        return self.objective(sde, times, self.principal_code(latent), weighting)

    def posterior_mean(
        self, x_t: Points, tau: Level, z: Codes | None = None, code: Code | None = None
    ) -> Points:
        """E[x_0 | x_t], or E[x_0 | x_t, z] for the z = A x_0 of ``code``; τ > 0."""
        checks.floating("x_t", x_t, (self.dimension,))
        if (z is None) != (code is None) or (z is not None and z.shape != (len(x_t), len(code))):
            raise ValueError("z, (batch, latent), and code, (latent, d), must be given together")
        x, tau2 = x_t.cpu().double(), _positive(tau).square().reshape(-1, 1)
        if len(tau2) not in (1, len(x)):
            raise ValueError(f"tau must be a scalar or ({len(x)},), got ({len(tau2)},)")
        mean = torch.zeros_like(x)
        if z is not None:
            root, readout, known = self._regression(code)
            mean = z.cpu().double() @ readout @ known.T @ root
        s, basis = torch.linalg.eigh(self.conditional_covariance(code))
        s = s.clamp(min=0)
        return (mean + ((x - mean) @ basis * (s / (s + tau2))) @ basis.T).to(x_t)

    def _regression(self, code: Code | None):
        """Of x_0 = rootᵀ u, u ~ N(0, I), on z: root, readout and ``known``, whose columns span
        what z knows of u, so that E[u | z] = known · readoutᵀ z."""
        root = self.variances.sqrt()[:, None] * self.directions
        if code is None:
            code = root.new_zeros(0, self.dimension)
        if code.ndim != 2 or code.shape[1] != self.dimension:
            raise ValueError(f"code must be (latent, {self.dimension}), got {tuple(code.shape)}")
        of_u = code.detach().cpu().double() @ root.T
        left, singular, right = torch.linalg.svd(of_u, full_matrices=False)
        rank = int((singular > 1e-10 * singular.amax()).sum()) if len(singular) else 0
        return root, left[:, :rank] / singular[:rank], right[:rank].T

    def _spectrum(self, code: Code | None) -> Float[Tensor, " dimension"]:
        return torch.linalg.eigvalsh(self.conditional_covariance(code)).clamp(min=0)


def _positive(tau: Level) -> Tensor:
    tau = torch.as_tensor(tau, dtype=torch.float64, device="cpu")
    if not bool((tau > 0).all()):
        raise ValueError(f"tau must be positive, got {tau}")
    return tau


def _quadrature(times: TimeDistribution) -> tuple[Times, Times]:
    """Nodes t and their probabilities: Gauss–Legendre between edges, denser towards t = 0."""
    if isinstance(times, SingleTime):
        return torch.tensor([times.t], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    jumps = torch.as_tensor(getattr(times, "edges", getattr(times, "t_min", T_MIN))).double()
    edges = T_MIN ** torch.linspace(1, 0, 257, dtype=torch.float64)  # λ may grow as 1/t
    edges = torch.cat([edges, jumps.reshape(-1)]).unique()
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(4))
    width = edges.diff()[:, None] / 2
    t = (edges[:-1, None] + width * (1 + nodes)).flatten()
    return t, times.density(t) * (width * weights).flatten()
