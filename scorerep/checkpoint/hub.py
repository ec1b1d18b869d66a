"""Where weights are found, shared and cited, by the conventions of the Hugging Face hub.

    ScoreModel.from_pretrained("fig3")          a run whose weights come with the book
    ScoreModel.from_pretrained("runs/mine")     a folder
    ScoreModel.from_pretrained("user/repo")     a repository of the hub, fetched once
    model.push_to_hub("user/repo")              after ``hf auth login``
    print(citation())

``huggingface_hub.ModelHubMixin`` does the uploading. Of a repository only ``card.json`` and
``model.safetensors`` are fetched, nothing is unpickled or run, and the SHA-256 in the card is
checked as that of a folder is.
"""

import json
import re
from pathlib import Path
from typing import Any, ClassVar

import torch
from huggingface_hub import ModelHubMixin, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from scorerep.checkpoint.cards import CARD, WEIGHTS, read_card
from scorerep.checkpoint.files import CheckpointError, write_bytes
from scorerep.checkpoint.page import card_text
from scorerep.types.devices import named_device

SHIPPED = Path(__file__).resolve().parents[2] / "book" / "checkpoints"
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
PAPER = """@inproceedings{abstreiter2021representation,
  author    = {Abstreiter, Korbinian and Bauer, Stefan and Mehrjou, Arash},
  title     = {Representation Learning in Continuous-Time Score-Based Generative Models},
  booktitle = {ICML Workshop on Invertible Neural Networks, Normalizing Flows, and Explicit Likelihood Models (INNF+)},
  year      = {2021},
  url       = {https://openreview.net/forum?id=QFbpSF6DBB}
}"""  # noqa: E501, as the README has it
BOOK = """@software{{scorerep,
  author  = {{{{The scorerep authors}}}},
  title   = {{scorerep: representation learning with score-based generative models, a book and a package}},
  version = {{{version}}}
}}"""  # noqa: E501, as CITATION.cff has it
TEMPLATE = """---
{{ card_data }}
---

# {{ repo_id }}

A score model of shape {{ shape }}, {{ code }}, by `scorerep`, an executable book and library on
*Representation Learning in Continuous-Time Score-Based Generative Models*.

```python
from scorerep import ScoreModel

model = ScoreModel.from_pretrained("{{ repo_id }}")
```

The weights are safetensors, and `card.json` has their SHA-256 and all settings.

{{ made }}

## Citation

```bibtex
{{ citation }}
```
"""


def citation() -> str:
    """BibTeX of the paper, and of this book and library."""
    from scorerep import __version__

    return f"{PAPER}\n\n{BOOK.format(version=__version__)}"


def shipped() -> list[str]:
    """Names of the weights that come with the book; none where the package is without it."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{CARD}"))


def locate(name: str | Path, **hub: Any) -> Path:
    """The folder of a checkpoint by its ``name``: a folder, a shipped run, or a hub's repository.

    A folder comes first. What looks like "user/repo", and whose first part is no folder here, is
    fetched from the hub into its cache, card and weights only.

    Args:
        hub: revision, token, cache_dir, force_download, local_files_only of ``snapshot_download``.

    Raises:
        CheckpointError: no folder and no run of this name, or the hub does not give it.
    """
    text, path = str(name), Path(name).expanduser()
    if path.exists() or path.is_absolute():
        return path
    if (SHIPPED / text / CARD).is_file() and len(path.parts) == 1:
        return SHIPPED / text
    if not REPOSITORY.fullmatch(text) or path.parent.is_dir():
        if len(path.parts) > 1:
            return path  # whose reader says what is missing
        known = f"; with the book come {', '.join(shipped())}" if shipped() else ""
        raise CheckpointError(f"no checkpoint at {text}: there is no such folder{known}")
    try:
        return Path(snapshot_download(text, allow_patterns=[CARD, WEIGHTS], **hub))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise CheckpointError(
            f"no checkpoint at {text}: there is no such folder, and the hub does not give a "
            f"repository of this name ({str(error).splitlines()[0]})"
        ) from None


class Shared(
    ModelHubMixin,
    library_name="scorerep",
    license="mit",
    tags=["score-based-generative-models", "representation-learning"],
    paper_url="https://openreview.net/forum?id=QFbpSF6DBB",
    model_card_template=TEMPLATE,
):
    """What a model needs to be loaded by name and pushed to the hub.

    A subclass has ``config``, writes ``model.safetensors`` and ``card.json`` in ``_write(folder,
    dtype, **card)``, and reads them in ``_read(folder, device)``.
    """

    card: ClassVar[dict[str, Any]] = {}  # an instance's own, of what was read

    def save_pretrained(
        self,
        folder: str | Path,
        dtype: torch.dtype = torch.float32,
        *,
        config: Any = None,
        model_card_kwargs: dict[str, Any] | None = None,
        **card,
    ):
        """Write ``model.safetensors`` and ``card.json``; ``card`` adds entries to the latter.

        With encoder_only=True in the card the score network, often the larger part, is left out
        (``ValueError`` without an encoder). Only weights are rounded to ``dtype``: frequencies of
        the noise level, multiplied by up to 4.6, have to keep theirs.

        Args:
            folder: made if it is not there.
            config: none but the model's own, for which the hub's mixin asks.
            model_card_kwargs: what ``push_to_hub`` gives; README.md and config.json are then
                written too, and the card keeps what it said when the model was read.
        """
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise ValueError(f"dtype must be a floating-point type, got {dtype}")
        folder = Path(folder)
        if model_card_kwargs is None:
            self._write(folder, dtype, **card)
            return
        self._write(folder, dtype, **{**self.card, **card})
        written = read_card(folder)
        config_text = json.dumps(written["model"], indent=2) + "\n"
        write_bytes(folder / "config.json", config_text.encode())
        readme = str(self.generate_model_card(made=card_text(written), **model_card_kwargs))
        write_bytes(folder / "README.md", readme.encode())

    @classmethod
    def from_pretrained(
        cls, name: str | Path, device: torch.device | str = "cpu", **hub
    ) -> "Shared":
        """The model of this ``name`` (see ``locate``), in evaluation mode, float32.

        Args:
            name: of a run that comes with the book, of a folder, or of a repository: "user/repo".
            hub: revision, token, cache_dir, force_download, local_files_only, for a repository.

        Errors name the file at fault.
        """
        device, folder = named_device(device), locate(name, **hub)
        model = cls._read(folder, device)
        own = ("model", "format", "weights_sha256")  # written anew
        model.card = {k: v for k, v in read_card(folder).items() if k not in own}
        return model

    def push_to_hub(self, repo_id: str, **options) -> str:
        """Upload weights, card, config.json and README.md to the repository; its commit's address.

        Args:
            repo_id: "user/repo"; made if it is not there.
            options: of ``huggingface_hub.ModelHubMixin.push_to_hub``: private, token, branch,
                commit_message and so on.
        """
        latent = self.config.latent
        about = {
            "repo_id": repo_id,
            "shape": "×".join(map(str, self.config.image_shape)),
            "code": f"with a code of {latent} numbers" if latent else "without a code",
            "citation": citation(),
        }
        options["model_card_kwargs"] = {**about, **(options.get("model_card_kwargs") or {})}
        return super().push_to_hub(repo_id, **options)
