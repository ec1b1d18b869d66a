"""Representation learning by score matching on one page.

Data, encoder, score network, Eq. (8), training loop and sampler:

    python one_page.py

trains two models on scikit-learn's 8x8 digits, in about a minute on one CPU core. It needs
PyTorch and scikit-learn only; the book's chapter one_page explains it piece by piece.
"""

import math

import torch
from sklearn.datasets import load_digits
from torch import nn

SIGMA_MIN, SIGMA_MAX = 0.01, 50.0  # noise levels, in units of the pixels
LATENT = 2  # numbers in a code


def load():
    """1,797 digits as (n, 64) numbers in [-1, 1], and their classes."""
    digits = load_digits()
    x = torch.tensor(digits.data, dtype=torch.float32) / 8 - 1
    return x, torch.tensor(digits.target)


def noise_level(t):
    """tau(t), the standard deviation of the noise in x_t given x_0."""
    sigma2 = (SIGMA_MIN * (SIGMA_MAX / SIGMA_MIN) ** t) ** 2
    return (sigma2 - SIGMA_MIN**2).sqrt()


def dense(inputs, outputs, width=256):
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.SiLU(),
        nn.Linear(width, width),
        nn.SiLU(),
        nn.Linear(width, outputs),
    )


class ScoreModel(nn.Module):
    """Encoder z = E(x_0) and denoiser D(x_t, tau, z) behind the score."""

    def __init__(self, d=64, s_d=0.75):
        super().__init__()
        self.s_d = s_d  # standard deviation of the data
        self.encoder = dense(d, LATENT)
        self.network = dense(d + 1 + LATENT, d)

    def denoise(self, x_t, tau, z):
        """E[x_0 | x_t, z], in EDM's form: skip + scaled network output."""
        tau = tau.reshape(-1, 1).expand(len(x_t), 1)
        total = (self.s_d**2 + tau**2).sqrt()
        inputs = torch.cat([x_t / total, tau.log() / 4, z], 1)
        skip = (self.s_d / total) ** 2 * x_t
        return skip + self.s_d * tau / total * self.network(inputs)

    def score(self, x_t, tau, z):
        """Tweedie's formula: (E[x_0 | x_t, z] - x_t) / tau^2."""
        return (self.denoise(x_t, tau, z) - x_t) / tau.reshape(-1, 1) ** 2


def draw_times(n, kind):
    """Uniform t, or t such that sigma is uniform."""
    u = torch.rand(n).clamp(min=1e-3)
    if kind == "uniform t":
        return u
    sigma = SIGMA_MIN + u * (SIGMA_MAX - SIGMA_MIN)
    return torch.log(sigma / SIGMA_MIN) / math.log(SIGMA_MAX / SIGMA_MIN)


def objective(model, x_0, kind, penalty=1e-5):
    """Eq. (8) with lambda = tau^2, a mean over pixels, and an L1 penalty."""
    tau = noise_level(draw_times(len(x_0), kind))[:, None]
    x_t = x_0 + tau * torch.randn_like(x_0)
    z = model.encoder(x_0)
    target = (x_0 - x_t) / tau**2  # the score of the kernel
    error = tau * (model.score(x_t, tau, z) - target)
    return error.square().mean() + penalty * z.abs().sum(1).mean()


def train(x, kind, steps=3000, batch=128, rate=1e-3, seed=0):
    torch.manual_seed(seed)
    model = ScoreModel()
    adam = torch.optim.Adam(model.parameters(), lr=rate)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        x_0 = x[torch.randint(len(x), (batch,))]
        loss = objective(model, x_0, kind)
        adam.zero_grad()
        loss.backward()
        adam.step()
        cosine.step()
    return model.eval()


@torch.no_grad()
def sample(model, z, steps=40, rho=7):
    """The probability flow dx/dtau = -tau * score, by Heun's method."""
    ramp = torch.linspace(0, 1, steps)
    high, low = SIGMA_MAX ** (1 / rho), SIGMA_MIN ** (1 / rho)
    tau = (high + ramp * (low - high)) ** rho
    x = tau[0] * torch.randn(len(z), 64)
    for now, then in zip(tau, tau[1:]):
        slope = -now * model.score(x, now, z)
        guess = x + (then - now) * slope
        slope = (slope - then * model.score(guess, then, z)) / 2
        x = x + (then - now) * slope
    return model.denoise(x, tau[-1], z)  # take the last noise off


@torch.no_grad()
def knn_accuracy(model, train_set, test_set, k=15):
    """Share of test codes whose class is most frequent among k nearest."""
    (x, y), (x_test, y_test) = train_set, test_set
    z, z_test = model.encoder(x), model.encoder(x_test)
    z_test, z = (z_test - z.mean(0)) / z.std(0), (z - z.mean(0)) / z.std(0)
    nearest = torch.cdist(z_test, z).topk(k, largest=False).indices
    return float((y[nearest].mode(1).values == y_test).float().mean())


if __name__ == "__main__":
    torch.set_num_threads(1)
    x, y = load()
    known, held_out = (x[:1400], y[:1400]), (x[1400:], y[1400:])
    for kind in ("uniform t", "uniform sigma"):
        model = train(known[0], kind)
        accuracy = knn_accuracy(model, known, held_out)
        print(f"{kind}: kNN accuracy of two numbers {accuracy:.2f}")
    images = sample(model, model.encoder(held_out[0][:8])).reshape(8, 8, 8)
    for row in images.permute(1, 0, 2):  # eight samples side by side
        shades = row.clamp(-1, 1) * 2 + 2
        print("  ".join("".join(" .:*#"[int(v)] for v in line) for line in shades))
