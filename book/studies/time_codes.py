"""What codes that depend on time hold at each t, beside a U-Net's features: results/time_codes.csv.

    python -m book.studies.time_codes train          # 15 minutes; book/checkpoints/time-codes
    python -m book.studies.time_codes probe          # the trained codes at each t: a minute
    python -m book.studies.time_codes features       # the U-Net of fig10, no encoder: some minutes
    python -m book.studies.time_codes features --untrained --times 0.05 0.5 0.7 0.95    # a control

MNIST. Probes and regressions are fitted on random training images and scored on as many random
test images: the two halves of MNIST's test images have other writers. The noisy or clean input
itself, averaged over 8 × 8 fields, is one more layer. Every command can be stopped and given
again: training goes on from its last saved state, and rows that are in the table are not computed
again (delete them for that).

The plan's runs with a U-Net go to results/time_codes_unet.csv.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import torch
import torch.nn.functional as F
import tyro
from filelock import FileLock

from scorerep.checkpoint import read_card
from scorerep.codes.attributes import attributes
from scorerep.codes.scores import encode_in_batches, linear_probe, linear_r2
from scorerep.codes.time import CodesAt, TimeCodeModel, TimeCodeObjective, features_at
from scorerep.data import load_data
from scorerep.data.images import ImageData
from scorerep.model import ModelConfig, ScoreModel
from scorerep.runs.fit import train_for
from scorerep.runs.paper import at_budget
from scorerep.runs.tables import has_row, merge_rows
from scorerep.sde import VESDE
from scorerep.times import DensityTime, UniformTime
from scorerep.training import Optimisation
from scorerep.types import Codes

HOURS = 0.5  # two trainings of 900 processor seconds (their cards); the probes were not timed
TIMES = (0.05, 0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.95)
FIELDS = 8  # a side, of the input beside layers of 64 and 128 numbers
KEY = ["source", "latent", "pool", "input", "layer", "t", "seed", "images"]


@dataclass(frozen=True)
class Train:
    """Train the codes of time."""

    seconds: float = 900.0
    """Processor seconds of the training, of one thread."""
    latent: int = 2
    """Dimension of the code."""
    network: Literal["unet", "dense"] = "dense"
    """Score network: the dense one is quick at high noise and poor at low noise."""
    seed: int = 0
    """Seed of the weights, the batches and the noise."""
    channels: tuple[int, int] = (16, 32)
    """Channels of the encoder, and of the U-Net."""
    images: int = 60_000
    """Training images, the first ones."""
    out: Path = Path("book/checkpoints/time-codes")
    """Where the averaged weights go, in half precision."""
    folder: Path = Path("runs/time-codes")
    """Where the state to go on from is kept."""

    def recipe(self) -> tuple[ModelConfig, TimeCodeObjective, Optimisation]:
        """Uniform t with EDM's weight, under which the loss is of order one at every level.

        A code of time learns each level for itself: weights choose how soon, not what.
        """
        phase = at_budget("fig7", "book").first_phase()  # dense, 8 draws of 32 images
        model, optimisation, draws = phase.model, phase.optimisation, phase.draws_per_image
        if self.network == "unet":
            model = at_budget("fig2ab", "book").model
            optimisation, draws = replace(optimisation, batch_size=16, warmup=300), 4
        config = replace(
            model, latent=self.latent, encoder_channels=self.channels,
            channels=self.channels if self.network == "unet" else model.channels,
        )  # fmt: skip
        sde = VESDE(config.sigma_min, config.sigma_max)
        edm = DensityTime.from_function(lambda t: 1 + (sde.tau(t) / config.sigma_data) ** 2)
        objective = TimeCodeObjective(
            edm, proposal=UniformTime(), regulariser="l1", regulariser_weight=1e-8,
            draws_per_image=draws,
        )  # fmt: skip
        return config, objective, replace(optimisation, iterations=1_000_000)

    def run(self):
        config, objective, optimisation = self.recipe()
        data = load_data("mnist", "train", limit=self.images)
        torch.manual_seed(self.seed)
        width = "-".join(map(str, self.channels))
        name = f"{self.network}-{width}-latent{self.latent}-seed{self.seed}"
        state = self.folder / f"{name}.safetensors"
        model, steps = train_for(
            self.seconds, TimeCodeModel(config), data, objective, optimisation, self.seed, state
        )
        model.save_pretrained(
            self.out, torch.float16, encoder_only=True,
            iterations_done=steps, seconds=self.seconds, seed=self.seed,
            data_checksum=data.checksum(), network_of_the_score=self.network,
            batch_size=optimisation.batch_size, draws_per_image=objective.draws_per_image,
        )  # fmt: skip
        print(f"{self.out}: {steps} iterations")


@dataclass(frozen=True)
class Table:
    """What both tables need."""

    times: tuple[float, ...] = TIMES
    """Noise levels t at which codes or features are scored."""
    most: int = 4_000
    """Images to fit on, and as many to score on."""
    out: Path = Path("book/results/time_codes.csv")
    """The table; rows that are there are not made again."""
    seed: int = 0
    """Seed of the noise in noisy inputs; a trained code's row has the seed of its training."""

    def run(self):
        splits = []
        for split in ("train", "test"):
            data = load_data("mnist", split)
            splits.append(data.subset(self.most, torch.Generator().manual_seed(0)))
        known = [attributes(data.floats()) for data in splits]
        for group in self.groups():
            if has_row(self.out, group | {"images": self.most}):
                continue
            rows = []
            for layer, codes in self.codes(group, splits):
                row = {**group, "layer": layer, "numbers": codes[0].shape[1], "images": self.most}
                row["probe"] = linear_probe(codes[0], splits[0].labels, codes[1], splits[1].labels)
                for name in known[0]:
                    pair = [table[name] for table in known]
                    row[f"r2_{name}"] = linear_r2(codes[0], pair[0], codes[1], pair[1])
                rows.append(row)
            _add(pd.DataFrame(rows), self.out)
            best = max(rows, key=lambda row: row["probe"])
            print({**group, "layer": best["layer"], "probe": round(best["probe"], 3)}, flush=True)


@dataclass(frozen=True)
class Probe(Table):
    """Score the trained codes at each t."""

    folder: Path = Path("book/checkpoints/time-codes")
    """Folder of the weights that train wrote."""

    def groups(self) -> list[dict]:
        config, seed = self.model().config, read_card(self.folder)["seed"]
        return [
            {
                "source": f"time code, {config.network}", "latent": config.latent, "pool": 0,
                "input": "clean", "t": t, "seed": seed,
            }
            for t in self.times
        ]  # fmt: skip

    def codes(self, group: dict, splits) -> Iterator[tuple[str, list]]:
        model = CodesAt(self.model(), group["t"])
        yield "code", [encode_in_batches(model, data) for data in splits]

    def model(self) -> TimeCodeModel:
        return TimeCodeModel.from_pretrained(self.folder)


@dataclass(frozen=True)
class Features(Table):
    """Score the hidden layers of the unconditional U-Net at each t."""

    folder: Path = Path("book/checkpoints/fig10")
    """Folder of the network's weights."""
    inputs: tuple[Literal["noisy", "clean"], ...] = ("noisy", "clean")
    """What the network is shown: x_t, or x_0 and the t of a noisier image."""
    pool: int = 2
    """Features are averaged over pool × pool fields."""
    untrained: bool = False
    """Draw the network's weights instead of reading them: the control."""

    def groups(self) -> list[dict]:
        source = "untrained features" if self.untrained else "features"
        return [
            {
                "source": source, "latent": 0, "pool": self.pool, "input": kind, "t": t,
                "seed": self.seed,
            }
            for kind in self.inputs
            for t in self.times
        ]  # fmt: skip

    def codes(self, group: dict, splits) -> Iterator[tuple[str, list]]:
        model, noisy = ScoreModel.from_pretrained(self.folder), group["input"] == "noisy"
        if self.untrained:
            torch.manual_seed(self.seed)
            model = ScoreModel(model.config).eval()
        found = []
        for seed, data in enumerate(splits, start=2 * self.seed):
            layers = features_at(model, data, group["t"], noisy, self.pool, seed)
            found.append(layers | {f"input {FIELDS}": fields(model, data, group["t"], noisy, seed)})
        for layer in found[0]:
            yield layer, [codes[layer] for codes in found]


def fields(model: ScoreModel, data: ImageData, t: float, noisy: bool, seed: int) -> Codes:
    """The input of ``features_at``, averaged over 8 × 8 fields: as many numbers as a layer has."""
    generator, parts = torch.Generator().manual_seed(seed), []
    for x in data.floats().split(250):
        if noisy:
            x = model.sde.perturb(x, t, torch.randn(x.shape, generator=generator))
        parts.append(F.adaptive_avg_pool2d(x, FIELDS).flatten(1))
    return torch.cat(parts)


def _add(rows: pd.DataFrame, out: Path):
    lock = Path("runs/time_codes.lock")  # not in results/, whose files the chapters rest on
    lock.parent.mkdir(exist_ok=True)
    with FileLock(lock):
        merge_rows(rows, out, KEY)


Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Probe, tyro.conf.subcommand("probe")]
    | Annotated[Features, tyro.conf.subcommand("features")]
)

if __name__ == "__main__":
    torch.set_num_threads(1)
    tyro.cli(Command).run()
