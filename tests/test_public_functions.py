"""Every public function that takes an array, tried with every type, size, shape and device.

What is public and takes an array is found by inspection; how to call it stands in ``CASES``. With
float64, float32, bfloat16 and float16 (inputs, and models), none and one item in a batch, images
in colour that are not square, and on a pretended accelerator, a call either works (finite, of the
dtype and on the device of its input) or is refused in one sentence that names an argument.
"""

import importlib
import inspect
import pkgutil
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import scorerep
from scorerep import codes, data, guidance, likelihood, objective, plots, quality, sampling
from scorerep import sde as sdes
from scorerep import times as time_laws
from scorerep import types as contract
from scorerep.checkpoint import CheckpointError
from scorerep.codes.learners import Autoencoder, MirrorDecoder, PrincipalComponents, Reconstruction
from scorerep.codes.time import CodesAt, TimeCodeModel, TimeCodeObjective
from scorerep.data import ImageData
from scorerep.guidance import ClassifierConfig, CrossEntropy, LawClassifier, NoisyClassifier
from scorerep.model import ModelConfig, ScoreModel
from scorerep.objective import Objective
from scorerep.sde import VESDE, VPSDE
from scorerep.times import DensityTime, UniformTime
from scorerep.training import Optimisation
from scorerep.worlds import EmpiricalLaw, GaussianMixture, LinearCode, LinearGaussian
from scorerep.worlds import linear_code as linear_codes
from scorerep.worlds.floor import floor, floor_of, mmse
from scorerep.worlds.growth import growing, limit_at, limit_of
from scorerep.worlds.schedule import Schedule
from tests.fake_accelerator import DEVICE, Fake, pretended

# Parts whose arrays come from parts that are tried here, or that move no array themselves.
ELSEWHERE = {
    "checkpoint": "files",
    "data.arrays": "bytes of numpy: tests/data/test_own.py",
    "data.folders": "files: tests/data/test_own.py",
    "data.own": "data sets in Python: tests/data/test_own.py",
    "data.pictures": "files: tests/data/test_own.py",
    "data.batches": "tests of training: batches of any data set",
    "export": "ONNX, on the CPU in float32",
    "networks": "layers within models, whose inputs are checked by the models",
    "runs": "training runs from a shell: tests/runs",
    "training": "tests/training, on the pretended accelerator too",
}
ARRAYS = (
    "Data Images PixelImages Points Times Codes Labels Scalar Level Tensor ArrayLike Float Int "
    "Classes Features Code PerImage ScoreModel ImageData ImageClassifier Draws Pairs ExactLaw "
    "LinearGaussian LinearCode Score TimeCodeModel Spectrum"
).split()


def public_functions() -> dict[str, object]:
    """Name → function, of all functions and methods with an array among their parameters."""
    found = {}
    for info in pkgutil.walk_packages(scorerep.__path__, "scorerep."):
        name = info.name.removeprefix("scorerep.")
        if name == "__main__" or any(f"{name}.".startswith(f"{part}.") for part in ELSEWHERE):
            continue
        module = importlib.import_module(info.name)
        for key, value in vars(module).items():
            if key.startswith("_") or getattr(value, "__module__", None) != info.name:
                continue
            members = {key: value}
            if inspect.isclass(value):
                members = {f"{key}.{k}": v for k, v in vars(value).items() if k[0] != "_"}
                if "__call__" in vars(value):
                    members[f"{key}.__call__"] = vars(value)["__call__"]
            for member, function in members.items():
                function = inspect.unwrap(getattr(function, "__func__", function))
                if inspect.isfunction(function) and takes_arrays(function):
                    found[f"{name}.{member}"] = function
    return found


def takes_arrays(function) -> bool:
    parameters = list(inspect.signature(function).parameters.values())
    text = " ".join(
        getattr(p.annotation, "__name__", "") + " " + str(p.annotation) + " " + p.name
        for p in parameters
    )
    if any(p.name in ("model", "x_0", "x_t", "x", "z", "images") for p in parameters):
        return True
    if "array_like" in text.lower():
        return True
    return any(word in text.replace("[", " ").replace("'", " ").split() for word in ARRAYS) or any(
        f"{word}[" in text or f".{word}" in text for word in ("Float", "Int", "UInt8", "Tensor")
    )


@dataclass(frozen=True)
class Kit:
    """One way to call everything, and valid arguments for it."""

    dtype: torch.dtype = torch.float32  # of inputs
    weights: torch.dtype = torch.float32  # of models
    n: int = 3  # items in a batch
    shape: tuple[int, int, int] = (1, 8, 8)
    device: torch.device = torch.device("cpu")

    def of(self, *shape: int, seed: int = 0) -> Tensor:
        """Numbers in [−1, 1]."""
        generator = torch.Generator().manual_seed(seed)
        numbers = 2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1
        return numbers.to(self.dtype).to(self.device)

    def placed(self, module):
        return module.to(self.weights).eval().to(self.device)

    generator = property(lambda self: torch.Generator().manual_seed(0))
    images = cached_property(lambda self: self.of(self.n, *self.shape))
    noise = cached_property(lambda self: self.of(self.n, *self.shape, seed=1))
    points = cached_property(lambda self: self.of(self.n, 2))
    many = cached_property(lambda self: self.of(12 * self.n, 4))  # codes or features
    more = cached_property(lambda self: self.of(12 * self.n, 4, seed=1))
    z = cached_property(lambda self: self.of(self.n, 2))
    y = cached_property(lambda self: (torch.arange(self.n) % 2).to(self.device))
    classes = cached_property(lambda self: (torch.arange(12 * self.n) % 2).to(self.device))
    t = cached_property(lambda self: self.of(self.n).abs() * 0.4 + 0.5)
    levels = cached_property(lambda self: self.of(self.n).abs() + 0.5)

    @property
    def config(self) -> ModelConfig:
        return ModelConfig(image_shape=self.shape, channels=(4, 4), blocks=1, latent=2, dropout=0.0)

    @cached_property
    def data(self) -> ImageData:
        n = 12 * max(self.n, 1)
        pixels = torch.randint(256, (n, *self.shape), generator=self.generator)
        parts = {"classes": ("a", "b"), "name": "noise", "split": "train"}
        return ImageData(pixels.to(torch.uint8), torch.arange(n) % 2, **parts).to(self.device)

    def made(self, kind, *arguments):
        torch.manual_seed(0)
        return self.placed(kind(*arguments))

    model = cached_property(lambda self: self.made(ScoreModel, self.config))
    plain = cached_property(lambda self: self.made(ScoreModel, replace(self.config, latent=0)))
    labelled = cached_property(
        lambda self: self.made(ScoreModel, replace(self.config, latent=0, num_classes=2))
    )
    optional = cached_property(
        lambda self: self.made(ScoreModel, replace(self.config, code_dropout=0.2))
    )
    timed = cached_property(lambda self: self.made(TimeCodeModel, self.config))
    learner = cached_property(lambda self: self.made(Autoencoder, self.config))
    judge = cached_property(lambda self: self.made(quality.ImageClassifier, self.shape, 2))
    toy = cached_property(
        lambda self: self.made(
            ScoreModel, ModelConfig(image_shape=(2,), channels=(8,), latent=2, num_classes=0)
        )
    )
    linear = cached_property(lambda self: self.made(LinearCode, VESDE(), 0.5, 4, 2))
    classifier = cached_property(
        lambda self: self.made(
            NoisyClassifier,
            ClassifierConfig(image_shape=self.shape, channels=(4, 4), num_classes=2),
        )
    )

    @cached_property
    def pca(self):
        images = self.of(12, *self.shape).cpu()
        return self.placed(PrincipalComponents(images, 2))

    law_of_codes = cached_property(lambda self: prior.mixture_prior(Kit().many, 2))
    law_of_two = cached_property(lambda self: prior.mixture_prior(Kit().of(12, 2), 2))
    line = cached_property(lambda self: use.direction(Kit().many, Kit().many[:, 0]))

    @cached_property
    def flow_of_codes(self):
        config = ModelConfig(image_shape=(4,), channels=(8,), latent=0, dropout=0.0)
        return prior.FlowPrior(Kit().made(ScoreModel, config), self.law_of_codes.whitened)

    @cached_property
    def mixture(self):
        means = [[-0.7, 0.5], [0.6, 0.7]]
        return GaussianMixture([0.4, 0.6], means, [0.2, 0.3]).to(self.device)

    @cached_property
    def empirical(self):
        return EmpiricalLaw(self.data.images, self.data.labels)

    @cached_property
    def gaussian(self):
        return LinearGaussian(torch.tensor([2.0, 1.0, 0.5, 0.1]))

    @property
    def score(self):
        return lambda x, t: -x / (1 + SDE.tau(t).to(x) ** 2)

    def draws(self, objective):
        return objective.draw(self.images, 2, self.generator)


SDE, VP, UNIFORM = VESDE(), VPSDE(), Objective(UniformTime())
(
    alignment,
    attributes,
    effects,
    encoding,
    features,
    information,
    mutual,
    prior,
    scores,
    spectrum,
    time_codes,
    use,
) = (  # fmt: skip
    importlib.import_module(f"{codes.__name__}.{name}")
    for name in (
        "alignment attributes effects encoding features information mutual prior scores "
        "spectrum time use"
    ).split()
)
CODES = {  # two sets of codes, labels and a continuous attribute
    "four": lambda k: (k.many, k.classes, k.more, k.classes),
    "real": lambda k: (k.many, k.many[:, 0], k.more, k.more[:, 0]),
}


STEPS = Optimisation(iterations=2, batch_size=8, warmup=1)


def split(k: Kit) -> features.Split:
    return features.Split(k.data, k.data, k.of(len(k.data), 3, seed=2))


def of_pairs(k: Kit) -> effects.Pairs:
    return effects.Pairs(k.images, k.noise, k.y, 1 - k.y)


def drawn(method, *arguments, **options):
    """A figure's axes are no array: that it is drawn is all."""
    _, ax = plt.subplots()
    try:
        method(*arguments, ax=ax, **options)
        ax.figure.canvas.draw()
    finally:
        plt.close("all")


def law(name: str, *arguments):
    return lambda k: getattr(k.mixture, name)(k.points, *(a(k) for a in arguments))


def level(function):
    """Of a level: one number, or one for each item."""
    return lambda k: [function(0.5), function(k.levels.clamp(max=0.9))]


CASES = {
    # codes
    "codes.alignment.cknna": lambda k: alignment.cknna(k.many, k.more, 2),
    "codes.attributes.attributes": lambda k: attributes.attributes(0.5 + 0 * k.images),
    "codes.attributes.scorable_attributes": lambda k: attributes.scorable_attributes(
        0.5 * k.images, 0.5 * k.noise
    ),
    "codes.attributes.ink": lambda k: attributes.ink(k.images),
    "codes.attributes.brightness": lambda k: attributes.brightness(k.images),
    "codes.attributes.background_colour": lambda k: attributes.background_colour(k.images),
    "codes.attributes.stroke_width": lambda k: attributes.stroke_width(k.images[:, :1].abs() + 0.1),
    "codes.attributes.slant": lambda k: attributes.slant(k.images[:, :1].abs() + 0.1),
    "codes.effects.pairs_of_classes": lambda k: [
        effects.pairs_of_classes(k.data, k.n, k.generator, same) for same in (False, True)
    ],
    "codes.effects.one_step_errors": lambda k: effects.one_step_errors(
        k.model, of_pairs(k), 0.6, k.generator, k.plain
    ),
    "codes.effects.share_closer": lambda k: effects.share_closer({"own": k.t, "other": k.t + 1}),
    "codes.effects.samples_of_codes": lambda k: effects.samples_of_codes(
        k.model, k.z, 2, 3, k.generator
    ),
    "codes.effects.spreads": lambda k: effects.spreads(torch.stack([k.images, k.noise], 1)),
    "codes.effects.diversity": lambda k: effects.diversity(torch.stack([k.images, k.noise], 1)),
    "codes.effects.sample_grid": lambda k: effects.sample_grid(k.model, -1, 1, 2, steps=3),
    "codes.effects.occupied": lambda k: effects.occupied(k.of(4, 2), k.z),
    "codes.encoding.encode_in_batches": lambda k: [
        encoding.encode_in_batches(model, k.images) for model in (k.model, k.learner, k.pca)
    ],
    "codes.encoding.pca_codes": lambda k: encoding.pca_codes(k.data, k.images, 2),
    "codes.features.feature_table": lambda k: features.feature_table(
        k.plain, split(k), (0.5,), k=3
    )[["probe", "knn", "cknna"]],
    "codes.features.initial": lambda k: [*features.initial(k.plain, 0).parameters()],
    "codes.features.scores": lambda k: features.scores(
        k.of(len(k.data), 3), k.of(len(k.data), 3, seed=1), split(k), 3
    ),
    "codes.information.label_spectrum": lambda k: [
        information.label_spectrum(law, SDE, [0.3, 0.6], 8, k.generator).value
        for law in (k.mixture, k.empirical)
    ],
    "codes.information.code_spectrum": lambda k: (
        information.code_spectrum(k.model, k.empirical, SDE, [0.5, 0.7], 4, k.generator).value
    ),
    "codes.information.bins_of": lambda k: information.bins_of(k.many[:, 0].cpu().double(), 3),
    "codes.information.entropy": lambda k: information.entropy(k.y),
    "codes.learners.MirrorDecoder.forward": lambda k: k.placed(
        MirrorDecoder(k.shape, 2, (4, 4), 1)
    )(k.z.to(k.weights)),
    "codes.learners.Autoencoder.code_distribution": lambda k: k.learner.code_distribution(k.images),
    "codes.learners.Autoencoder.encode": lambda k: k.learner.encode(k.images),
    "codes.learners.Autoencoder.decode": lambda k: k.learner.decode(k.z),
    "codes.learners.PrincipalComponents.encode": lambda k: k.pca.encode(k.images),
    "codes.learners.PrincipalComponents.decode": lambda k: k.pca.decode(k.z),
    "codes.learners.Reconstruction.draw": lambda k: Reconstruction(UniformTime()).draw(
        k.images, 2, k.generator
    ),
    "codes.learners.Reconstruction.__call__": lambda k: Reconstruction()(
        k.learner, k.images, Reconstruction().draw(k.images, 2, k.generator)
    ),
    "codes.prior.Whitened.there": None,  # of float64: the priors are tried
    "codes.prior.Whitened.back": None,
    "codes.prior.mixture_prior": lambda k: prior.mixture_prior(k.many, 2).sample(3, k.generator),
    "codes.prior.flow_prior": None,  # trains: tests/codes/test_prior.py
    "codes.prior.MixturePrior.log_prob": lambda k: k.law_of_codes.log_prob(k.of(k.n, 4)),
    "codes.prior.FlowPrior.log_prob": lambda k: k.flow_of_codes.log_prob(k.of(k.n, 4), 1e-2),
    "codes.use.noise_of": lambda k: use.noise_of(k.model, k.images, None, 2),
    "codes.use.decode": lambda k: use.decode(k.model, k.z, k.noise, 2),
    "codes.use.reconstruct": lambda k: use.reconstruct(k.model, k.images, k.z, steps=2),
    "codes.use.on_sphere": lambda k: use.on_sphere(k.images, k.noise, 0.3),
    "codes.use.interpolate": lambda k: use.interpolate(k.model, k.images, k.noise, [0.5], 2),
    "codes.use.direction": lambda k: use.direction(k.many, k.many[:, 0]).vector,
    "codes.use.Direction.fitted": lambda k: k.line.fitted(k.of(k.n, 4)),
    "codes.use.Direction.moved": lambda k: k.line.moved(k.of(k.n, 4), 0.5),
    "codes.use.generate": lambda k: use.generate(k.model, k.law_of_two, 3, 2, k.generator),
    "codes.scores.linear_fit": lambda k: scores.linear_fit(k.many, k.many[:, 0])[1],
    "codes.mutual.estimate": lambda k: [
        *vars(mutual.estimate(k.images, k.z, (k.plain, k.model), levels=3)).values()
    ][:3],
    "codes.mutual.gaps": lambda k: mutual.gaps(
        k.plain, k.model, k.images, k.z, SDE, [0.3, 0.6], k.generator
    ),
    "codes.mutual.prepared": lambda k: mutual.prepared("values", k.of(7 * k.n, 2)),
    "codes.mutual.trained": lambda k: learned(
        mutual.trained, k.of(20, 2).float(), k.of(20, 1).float(), (4,), STEPS, 0
    ),
    "codes.spectrum.trapezoid_weights": lambda k: spectrum.trapezoid_weights(
        [0.1, 0.3, 0.9][: k.n]
    ),
    "codes.scores.silhouette": lambda k: scores.silhouette(k.many, k.classes),
    "codes.scores.knn_accuracy": lambda k: scores.knn_accuracy(*CODES["four"](k), k=3),
    "codes.scores.linear_probe": lambda k: scores.linear_probe(*CODES["four"](k)),
    "codes.scores.few_label_accuracy": lambda k: scores.few_label_accuracy(
        *CODES["four"](k), count=4, draws=2
    ),
    "codes.scores.linear_r2": lambda k: scores.linear_r2(*CODES["real"](k)),
    "codes.scores.score_codes": lambda k: scores.score_codes(*CODES["four"](k), k=3),
    "codes.scores.compare": lambda k: scores.compare(
        {"a": (k.many, k.more)}, k.classes, k.classes, k=3
    ),
    "codes.scores.bootstrap_interval": lambda k: scores.bootstrap_interval(k.many[:, 0]),
    "codes.time.TimeEncoder.forward": lambda k: k.timed.encoder(
        k.images.to(k.weights), k.t.float().log()
    ),
    "codes.time.TimeCodeModel.encode": lambda k: [
        k.timed.encode(k.images, t) for t in (0.5, k.t, k.t.repeat_interleave(2))
    ],
    "codes.time.TimeCodeModel.code_distribution": lambda k: refused(
        k.timed.code_distribution, k.images
    ),
    "codes.time.CodesAt.encode": lambda k: CodesAt(k.timed, 0.5).encode(k.images),
    "codes.time.TimeCodeObjective.__call__": lambda k: TimeCodeObjective(UniformTime())(
        k.timed, k.images, k.draws(TimeCodeObjective(UniformTime()))
    ),
    "codes.time.trajectory": lambda k: time_codes.trajectory(
        k.timed, k.images, torch.tensor([0.2, 0.6])
    ),
    "codes.time.unet_features": lambda k: time_codes.unet_features(k.plain, k.images, 0.5),
    "codes.time.features_at": lambda k: time_codes.features_at(k.plain, k.data, 0.5, batch=20),
    # data
    "data.images.ImageData.batch": lambda k: k.data.batch(torch.arange(k.n)),
    "data.images.to_float": lambda k: data.to_float(k.data.images[: k.n]),
    "data.images.to_uint8": lambda k: data.to_uint8(k.images),
    # guidance
    "guidance.classifier.NoisyClassifier.forward": lambda k: [
        k.classifier(k.images, t) for t in (0.5, k.t)
    ],
    "guidance.classifier.NoisyClassifier.gradient": lambda k: [
        k.classifier.gradient(k.images, t, y) for t, y in ((0.5, k.y), (k.t, 1))
    ],
    "guidance.classifier.CrossEntropy.__call__": lambda k: CrossEntropy(UniformTime())(
        k.classifier, k.images, k.draws(UNIFORM), k.y
    ),
    "guidance.classifier.fit_classifier": None,  # trains: tests/guidance
    "guidance.guides.Guide.gradient": None,  # a protocol: its kinds are tried
    "guidance.guides.LawClassifier.gradient": lambda k: [
        LawClassifier(law, SDE, least=0.5).gradient(x, t, y)
        for law, x in ((k.mixture, k.points), (k.empirical, k.images))
        for t, y in ((0.6, k.y), (k.t, 1))
    ],
    "guidance.guides.ScoreDifference.gradient": lambda k: guidance.ScoreDifference(
        k.labelled, k.plain
    ).gradient(k.images, 0.6, k.y),
    "guidance.guides.guided_score": lambda k: [
        guidance.guided_score(k.plain, k.classifier, k.y)(k.images, 0.6),
        guidance.guided_score(k.score, LawClassifier(k.mixture, SDE), 1)(k.points, 0.6),
    ],
    "guidance.guides.load_pair": None,  # files
    "guidance.classifier_free.free_guided_score": lambda k: [
        guidance.free_guided_score(k.optional, k.z, weight)(k.images, 0.6) for weight in (0, 1, 2)
    ],
    # likelihood
    "likelihood.log_likelihood": lambda k: [
        likelihood.log_likelihood(k.score, SDE, k.points, n, k.generator, tolerance=1e-2, batch=2)
        for n in (0, 1)
    ],
    # model
    "model.ScoreModel.score": lambda k: [
        k.model.score(k.images, 0.5, k.z),
        k.labelled.score(k.images, k.t, k.y),
    ],  # fmt: skip
    "model.ScoreModel.forward": lambda k: k.model(k.images, 0.5, k.z),
    "model.ScoreModel.denoise": lambda k: k.model.denoise(k.images, k.t, k.z),
    "model.ScoreModel.denoised": None,  # what score and denoise call, without checks
    "model.ScoreModel.encode": lambda k: k.model.encode(k.images),
    "model.ScoreModel.code_distribution": lambda k: k.model.code_distribution(k.images),
    # objective
    "objective.denoising_score_matching": lambda k: objective.denoising_score_matching(
        k.model, k.images, k.t, k.noise, k.z
    ),
    "objective.root_weight": lambda k: objective.root_weight(SDE, k.t, "sigma2"),
    "objective.l1_norm": lambda k: objective.l1_norm(of_some(k.z)),
    "objective.kl_to_standard_normal": lambda k: objective.kl_to_standard_normal(of_some(k.z), k.z),
    "objective.Objective.draw": lambda k: UNIFORM.draw(k.images, 2, k.generator),
    "objective.Objective.__call__": lambda k: UNIFORM(k.model, of_some(k.images), k.draws(UNIFORM)),
    # plots
    "plots.codes.scatter_codes": lambda k: drawn(plots.scatter_codes, k.z, k.y, classes=["a", "b"]),
    "plots.images.image_grid": lambda k: drawn(plots.image_grid, k.images, 1, k.n),
    "plots.curves.plot_curve": lambda k: drawn(plots.plot_curve, k.t, k.levels),
    "plots.curves.vector_field": lambda k: drawn(
        lambda *a, ax: plots.vector_field(ax, *a), k.points, k.z
    ),
    "plots.curves.density_heat": lambda k: drawn(
        lambda *a, ax: plots.density_heat(ax, *a), k.mixture.log_prob, (-1, 1, -1, 1), 5
    ),
    # quality
    "quality.distances.frechet_distance": lambda k: quality.frechet_distance(k.many, k.more),
    "quality.distances.frechet_interval": lambda k: quality.frechet_interval(k.many, k.more, 3),
    "quality.distances.kernel_distance": lambda k: quality.kernel_distance(k.many, k.more),
    "quality.distances.kernel_interval": lambda k: quality.kernel_interval(k.many, k.more, 4),
    "quality.distances.gaussian_fit": lambda k: quality.gaussian_fit(k.images, 4, k.generator),
    "quality.judge.ImageClassifier.forward": lambda k: k.judge(k.images.to(k.weights)),
    "quality.judge.train_classifier": lambda k: learned(quality.train_classifier, k.data, 1, 8),
    "quality.judge.save_classifier": None,  # files
    "quality.judge.features": lambda k: quality.features(k.judge, k.images, 2),
    "quality.judge.probabilities": lambda k: quality.probabilities(k.judge, k.images, 2),
    "quality.judge.accuracy": lambda k: quality.accuracy(k.judge, k.data),
    "quality.judge.sure": lambda k: quality.sure(k.judge, k.images),
    "quality.judge.sure_share": lambda k: quality.sure_share(k.judge, k.images),
    "quality.judge.class_accuracy": lambda k: quality.class_accuracy(k.judge, k.images, k.y),
    # sampling
    "sampling.fields.condition": lambda k: sampling.condition(k.model, k.z)(k.images, 0.5),
    "sampling.fields.denoised": lambda k: sampling.denoised(k.score, SDE, k.points, 0.5),
    "sampling.fields.unscaled": lambda k: sampling.unscaled(k.score, VP)(k.points, 0.5),
    **{
        f"sampling.samplers.{name}": lambda k, name=name: (
            [
                getattr(sampling, name)(k.score, sde, k.points, 0.6, 3, k.generator)
                for sde in (SDE, VP)
            ]
            + [
                getattr(sampling, name)(
                    sampling.condition(k.model, k.z), k.model.sde, k.images, 0.6, 3, k.generator
                )
            ]
        )
        for name in (
            "euler_maruyama",
            "heun",
            "predictor_corrector",
            "probability_flow",
            "stochastic_heun",
        )
    },  # fmt: skip
    **{
        f"sampling.inversion.{name}": lambda k, name=name: [
            getattr(sampling, name)(k.score, sde, k.points, 0.6, 3) for sde in (SDE, VP)
        ]
        for name in ("invert", "restore")
    },
    "sampling.walk.check_ends": None,  # what every sampler and the inversion ask first
    "sampling.walk.Asked.__call__": None,  # what every sampler calls
    "sampling.walk.sampler": None,  # a decorator: what it makes is tried
    "sampling.walk.states": lambda k: [
        state.x for state in sampling.states(sampling.heun, k.score, SDE, k.points, 0.6, 3)
    ],
    "sampling.walk.on_device": lambda k: sampling.walk.on_device(torch.ones(2), k.points).float(),
    # sde
    **{
        f"sde.{where}.{name}": level(getattr(sde, name.split(".")[1]))
        for sde, where, kind in ((SDE, "linear", "LinearSDE"), (VP, "vp", "VPSDE"))
        for name in (
            f"{kind}.{method}"
            for method in ("tau", "g2", "time_of_level", "alpha", "drift_rate", "level", "log_snr")
        )
        if name.split(".")[1] in vars(sdes.LinearSDE if kind == "LinearSDE" else VPSDE)
    },
    **{
        f"sde.ve.VESDE.{name}": level(getattr(SDE, name))
        for name in ("sigma", "tau", "time_of_sigma", "time_of_tau", "time_of_level", "g2")
    },
    "sde.vp.VPSDE.beta": level(VP.beta),
    "sde.vp.VPSDE.beta_integral": level(VP.beta_integral),
    "sde.vp.SubVPSDE.tau": level(sdes.SubVPSDE().tau),
    "sde.vp.SubVPSDE.g2": level(sdes.SubVPSDE().g2),
    "sde.linear.LinearSDE.perturbation_kernel": lambda k: [
        SDE.perturbation_kernel(k.images, t)[0] for t in (0.5, k.t)
    ],
    "sde.linear.LinearSDE.perturb": lambda k: SDE.perturb(k.images, k.t, k.noise),
    "sde.linear.LinearSDE.kernel_score": lambda k: SDE.kernel_score(k.images, k.noise, k.t),
    "sde.linear.LinearSDE.reverse_drift": lambda k: VP.reverse_drift(k.images, k.noise, k.t),
    "sde.linear.LinearSDE.probability_flow_drift": lambda k: VP.probability_flow_drift(
        k.images, k.noise, k.t
    ),
    "sde.linear.LinearSDE.prior_log_prob": lambda k: SDE.prior_log_prob(of_some(k.images)),
    "sde.tensors.as_level": lambda k: sdes.as_level(k.t),
    "sde.tensors.expand_as": lambda k: sdes.expand_as(k.t, k.images),
    "types.devices.readable": lambda k: contract.devices.readable(k.t) and None,
    "sde.tensors.check_range": lambda k: sdes.tensors.check_range(k.t, 0.0, 1.0, "value"),
    # times
    "times.UniformTime.density": lambda k: UniformTime().density(k.t),
    "times.UniformSigma.density": lambda k: time_laws.UniformSigma(SDE).density(k.t),
    "times.SingleTime.density": lambda k: refused(time_laws.SingleTime(0.5).density, k.t),
    "times.DensityTime.density": lambda k: density(k).density(k.t),
    "times.DensityTime.from_function": lambda k: DensityTime.from_function(lambda t: t, 4).values,
    # types
    "types.checks.some": lambda k: contract.checks.some("x", k.images),
    "types.checks.floating": lambda k: contract.checks.floating("x", k.images, k.shape),
    "types.checks.same_shape": lambda k: contract.checks.same_shape(
        "noise", k.noise, "x_0", k.images
    ),
    "types.checks.one_or_each": lambda k: contract.checks.one_or_each(
        "value", k.t, k.images, k.dtype
    ),
    "types.checks.chosen": lambda k: contract.checks.chosen("mask", k.y == 1, k.images),
    "types.checks.labels": lambda k: contract.checks.labels("y", k.y, k.images, 2),
    "types.devices.normal": lambda k: contract.devices.normal((2, 3), k.images, k.generator),
    "types.devices.place_of": lambda k: contract.devices.place_of(k.model, k.images) and None,
    # worlds
    "worlds.law.Estimate.of": lambda k: scorerep.worlds.Estimate.of(k.many[:, 0]) if k.n else None,
    "worlds.law.ExactLaw.class_moments": None,  # abstract: its kinds are tried
    **{
        f"worlds.law.ExactLaw.{name}": lambda k, name=name, labels=labels: [
            getattr(one, name)(x, *more)
            for one, x in ((k.mixture, k.points), (k.empirical, k.images))
            for more in ([0.7], [k.levels], [0.7, k.y], [k.levels, 1])[: labels or 2]
        ]
        for name, labels in (
            ("log_prob", 4),
            ("score", 4),
            ("posterior_mean", 4),
            ("posterior_variance", 4),
            ("class_posterior", 0),
            ("class_means", 0),
        )
    },
    "worlds.law.ExactLaw.guidance_score": lambda k: [
        k.mixture.guidance_score(k.points, tau, y) for tau, y in ((0.5, k.y), (k.levels, 1))
    ],
    "worlds.mixture.GaussianMixture.class_moments": lambda k: k.mixture.class_moments(
        k.points.double(), k.levels.double()
    ),
    "worlds.floor.mmse": lambda k: [
        mmse(law, k.levels, 4, k.generator) for law in (k.data.images, k.empirical, k.mixture)
    ],
    "worlds.floor.floor": lambda k: floor(
        k.data.images, Schedule("flow"), "v", k.t.sort().values, 4, k.generator
    ),
    "worlds.floor.floor_of": lambda k: floor_of(
        mmse(k.mixture, [0.5, 20.0], 4, k.generator), Schedule("flow"), k.t.sort().values
    ),
    "worlds.growth.growing": lambda k: growing(k.data.images, k.levels, 4, k.generator).drop(
        columns=["limit", "limit_error"]  # not to be told of so few
    ),
    "worlds.growth.limit_of": lambda k: limit_of(0 * k.of(3, 16) + 1),
    "worlds.growth.limit_at": lambda k: limit_at(
        pd.DataFrame({"sigma": [0.1, 3.0], "mmse": [0.1, 0.4], "limit": [0.2, 0.5]}), k.levels
    ),
    **{
        f"worlds.schedule.Schedule.{name}": lambda k, name=name: getattr(
            Schedule("vp-cosine", "logit-normal"), name
        )(k.t)
        for name in ("kernel", "level", "time_of_level", "share_below", "time_of_share")
    },
    "worlds.empirical.EmpiricalLaw.item": lambda k: k.empirical.item(k.y) is None or None,
    "worlds.empirical.EmpiricalLaw.class_moments": lambda k: k.empirical.class_moments(
        k.images.double(), k.levels.double()
    ),
    "worlds.linear_code.LinearCode.encode": lambda k: k.linear.encode(k.of(k.n, 4)),
    "worlds.linear_code.LinearCode.code_distribution": lambda k: k.linear.code_distribution(
        k.of(k.n, 4)
    ),
    "worlds.linear_code.LinearCode.denoise": lambda k: k.linear.denoise(k.of(k.n, 4), 0.5, k.z),
    "worlds.linear_code.LinearCode.score": lambda k: k.linear.score(k.of(k.n, 4), 0.5, k.z),
    "worlds.linear_code.LinearCode.expected_loss": lambda k: k.linear.expected_loss(k.gaussian),
    "worlds.linear_code.train_linear_code": lambda k: learned(
        linear_codes.train_linear_code, k.made(LinearCode, SDE, 0.5, 4, 2), k.gaussian, 1, 4
    ),
    "worlds.linear_gaussian.LinearGaussian.conditional_covariance": lambda k: (
        k.gaussian.conditional_covariance(k.of(2, 4))
    ),
    "worlds.linear_gaussian.LinearGaussian.kept": lambda k: k.gaussian.kept(k.of(2, 4)),
    "worlds.linear_gaussian.LinearGaussian.gain": lambda k: k.gaussian.gain(k.levels),
    "worlds.linear_gaussian.LinearGaussian.constant": lambda k: k.gaussian.constant(k.levels),
    "worlds.linear_gaussian.LinearGaussian.information": lambda k: k.gaussian.information(
        0.5, 1.0, k.of(2, 4)
    ),
    "worlds.linear_gaussian.LinearGaussian.objective": lambda k: k.gaussian.objective(
        SDE, UniformTime(), k.of(2, 4)
    ),
    "worlds.linear_gaussian.LinearGaussian.posterior_mean": lambda k: k.gaussian.posterior_mean(
        k.of(k.n, 4), k.levels, k.z, k.of(2, 4)
    ),
}
# What is not in the dtype and on the device of its input, by contract.
OWN = {
    "codes.effects.occupied": "booleans",
    "codes.effects.pairs_of_classes": "images of a data set are float32",
    "codes.effects.sample_grid": "the model's",
    "codes.encoding.encode_in_batches": "on the CPU, single precision at least",
    "codes.learners.MirrorDecoder.forward": "the network's",
    "codes.learners.Reconstruction.__call__": "losses: single precision at least",
    "codes.learners.Reconstruction.draw": "t: single precision at least",
    "codes.time.TimeCodeObjective.__call__": "losses",
    "codes.time.TimeEncoder.forward": "the network's",
    "codes.time.features_at": "images of a data set are float32",
    "codes.features.initial": "the model's",
    "codes.information.bins_of": "integers",
    "codes.mutual": "float64 sums, and float32 to train on, on the CPU",
    "data.images": "bytes, and float32 of them",
    "guidance.classifier.CrossEntropy.__call__": "losses",
    "objective": "losses and t: single precision at least",
    "quality.judge.ImageClassifier.forward": "the network's",
    "quality.judge.train_classifier": "the network's",
    "codes.prior.mixture_prior": "float32 on the CPU",
    "codes.use.direction": "float32 on the CPU",
    "codes.use.generate": "float32 on the CPU",
    "types.checks.chosen": "truth values",
    "sampling.walk.on_device": "the times, exact",
    "sde.linear.LinearSDE.prior_log_prob": "as given",
    "sde.ve": "levels: single precision at least",
    "sde.vp": "levels",
    "sde.linear.LinearSDE.": "levels",
    "sde.tensors": "levels",
    "times": "single precision at least",
    "types.checks.labels": "integers",
    "worlds.empirical.EmpiricalLaw.class_moments": "float64",
    "worlds.schedule.Schedule": "float64",
    "worlds.linear_code.LinearCode.expected_loss": "the model's",
    "worlds.linear_gaussian.LinearGaussian": "float64 on the CPU",
    "worlds.mixture.GaussianMixture.class_moments": "float64",
}
KEPT = (  # exceptions among these
    "sde.linear.LinearSDE.perturb", "sde.linear.LinearSDE.kernel_score",
    "sde.linear.LinearSDE.reverse_drift", "sde.linear.LinearSDE.probability_flow_drift",
    "worlds.linear_gaussian.LinearGaussian.posterior_mean",
)  # fmt: skip

HALF, SINGLE, DOUBLE = (torch.bfloat16, torch.float16), torch.float32, torch.float64
KITS = {
    "float32": Kit(),
    **{str(d).removeprefix("torch."): Kit(dtype=d) for d in (DOUBLE, *HALF)},
    **{f"{d} model".removeprefix("torch."): Kit(weights=d) for d in (DOUBLE, *HALF)},
    "none": Kit(n=0),
    "one": Kit(n=1),
    "colour": Kit(shape=(3, 8, 12)),
    "accelerator": Kit(device=DEVICE),
}


def density(k: Kit) -> DensityTime:
    return DensityTime(torch.tensor([0.1, 0.5, 1.0]), torch.tensor([1.0, 2.0]))


def of_some(x: Tensor) -> Tensor:
    """A mean over the batch has none for an empty one."""
    return x if len(x) else pytest.skip("a mean over no items")


def learned(train, *arguments):
    with torch.enable_grad():
        result = train(*arguments)
        return list(result) if inspect.isgenerator(result) else list(result.parameters())


def refused(function, *arguments):
    with pytest.raises(ValueError):
        function(*arguments)


def arrays(value):
    """All tensors and numbers in a result."""
    if isinstance(value, pd.DataFrame | pd.Series):
        yield from np.asarray(value, dtype=float).ravel()
    elif isinstance(value, dict):
        for item in value.values():
            yield from arrays(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from arrays(item)
    elif value is not None:
        yield value


def inside(value):
    return value.inner if isinstance(value, Fake) else value


def check_result(name: str, kit: Kit, result):
    own = any(name.startswith(key) for key in OWN) and not name.startswith(KEPT)
    for value in arrays(result):
        if isinstance(value, Tensor):
            assert bool(inside(value).isfinite().all()), "not finite"
            if value.is_floating_point() and not own:
                assert value.dtype == kit.dtype, f"{value.dtype} instead of {kit.dtype}"
                assert value.device == kit.device, f"on {value.device} instead of {kit.device}"
        else:
            assert np.isfinite(np.asarray(value, dtype=float)).all(), "not finite"


def check_refusal(function, error: Exception):
    sentence = str(error)
    assert "\n" not in sentence and len(sentence) < 300, sentence
    names = set(inspect.signature(function).parameters) | {"image_shape", "data", "codes", "values"}
    words = {word.strip(",.:;()'").split(".")[0] for word in sentence.split()}
    assert names & words, f"names no argument of {sorted(names)}: {sentence}"


@lru_cache
def found() -> dict[str, object]:
    return public_functions()


def test_every_public_function_that_takes_an_array_is_in_the_table():
    missing = sorted(set(found()) - set(CASES))
    assert not missing, f"say in CASES how to call {missing}"
    unknown = sorted(name for name in CASES if name not in found())
    assert not unknown, f"CASES calls what is not there: {unknown}"


@pytest.mark.parametrize("kit", KITS)
def test_all_of_them_work_or_say_why_not(kit):
    """One test a kit, since the models of a kit are made once; all failures are listed."""
    failures, refusals, kit_name, kit = [], [], kit, replace(KITS[kit])
    with pretended() if kit.device == DEVICE else nullcontext(), torch.no_grad():
        for name, call in CASES.items():
            if call is None:
                continue
            try:
                check_result(name, kit, call(kit))
            except pytest.skip.Exception:
                continue
            except (ValueError, TypeError, CheckpointError) as error:
                try:
                    check_refusal(found()[name], error)
                    refusals.append(name)
                except AssertionError as wrong:
                    failures.append(f"{name}: {type(error).__name__}: {wrong}")
            except Exception as error:
                failures.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")
    assert not failures, f"{len(failures)} with {kit_name}:\n" + "\n".join(failures)
    # Only what no batch of none or one can have, and what half precision cannot solve, is refused.
    assert kit_name in ("none", "one") or set(refusals) <= {"likelihood.log_likelihood"}, refusals
    assert kit_name not in ("float32", "accelerator") or not refusals, refusals
