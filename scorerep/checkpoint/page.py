"""What a card says, in words: the data, the training and the licence of weights.

    print(card_text(read_card("book/checkpoints/fig3")))

The hub's page of pushed weights has these sections, and so has the README of each of the book's
weights. A sentence whose number or name the card does not hold is left out.
"""

from pathlib import Path
from typing import Any

KNOWN = {  # data: name, training images of a class (None: not as many of each), of all; terms
    "mnist": ("MNIST", None, 60_000, "their page names no terms, and copies are commonly passed "
              "on under CC BY-SA 3.0, with LeCun and Cortes named as holders of the copyright"),
    "cifar10": ("CIFAR-10", 5_000, 50_000, "their page names no licence and asks that Krizhevsky's "
                "technical report of 2009 be cited"),
    "digits": ("scikit-learn's digits", None, None, "they come with scikit-learn"),
}  # fmt: skip
LICENCE = "The weights are under the MIT licence, as the code is. The data are not under it."


def card_text(card: dict[str, Any]) -> str:
    """The sections of a page about weights that their card alone can fill, in Markdown.

    Args:
        card: of a checkpoint folder, as ``read_card`` gives it.
    """
    found = {"Data": _data(card), "How it was trained": _training(card), "Licence": LICENCE}
    return "\n\n".join(f"## {head}\n\n{text}" for head, text in found.items() if text)


def epochs(card: dict[str, Any], steps: int, batch_size: int | None) -> float | None:
    """How often training saw each image; None where the card leaves the number of images open.

    Args:
        card: of a checkpoint folder, for its data.
        steps: iterations of training.
        batch_size: images an iteration.
    """
    images = _images(card)
    return steps * batch_size / images if images and batch_size else None


def _name(card: dict) -> str:
    return card.get("experiment", card).get("data") or ""


def _images(card: dict) -> int | None:
    _, each, total, _ = KNOWN.get(_name(card), (None,) * 4)
    classes = len(card.get("experiment", {}).get("classes", ()))
    return (classes * each if each else None) if classes else total


def _data(card: dict) -> str:
    name, images = _name(card), _images(card)
    if not name:
        return ""
    title, *_, terms = KNOWN.get(name, (f"`{Path(name).name}`, a set of one's own", None))
    classes = ", ".join(card.get("experiment", {}).get("classes", ()))
    lines = [f"- {title}: {f'the {images:,} images' if images else 'images'} of the training split"]
    lines[0] += f", classes {classes}" if classes else ", all classes" if terms else ""
    if checksum := card.get("data_checksum"):
        lines.append(f"- their checksum is `{checksum}` (`load_data(…).checksum()`)")
    lines.append(f"- terms: {terms or 'not known to the card'}")
    return "\n".join(lines)


def _training(card: dict) -> str:
    if not card.get("iterations_done"):
        return ""
    plan, first = card.get("experiment", {}), card.get("encoder_phase")
    lines, own = [], plan.get("optimisation") or card.get("optimisation") or card
    named = [f"run `{plan['name']}`"] if "name" in plan else []
    named += [f"seed {card['seed']}"] if "seed" in card else []
    named += [f"on {card['machine']}"] if "machine" in card else []
    if plan:
        prior = plan["regulariser"]
        weight = f", weight {plan['regulariser_weight']:g}" if prior != "none" else ""
        level = f" ({plan['single_t']:g})" if plan["times"] == "single_t" else ""
        named.append(f"t by `{plan['times']}`{level}, regulariser `{prior}`{weight}")
    if first:
        phase = plan.get("encoder_phase") or {}
        kind = {"unet": "U-Net"}.get(phase.get("network"), f"{phase.get('network')} score network")
        network = f" beside a {kind}" if phase else ""
        draws = phase.get("draws_per_image", 1)
        done = _phase(card, first, phase.get("optimisation", {}), draws)
        lines.append(f"- first the encoder{network}: {done}")
    done = _phase(card, card, own, plan.get("draws_per_image", card.get("draws_per_image", 1)))
    planned, frozen = own.get("iterations"), own.get("frozen_iterations")
    last = max(0, card["iterations_done"] - (planned or 0)) if frozen else 0
    some = f" in the last {last:,}" if last < card["iterations_done"] else ""
    lines.append(f"- {'then ' if first else ''}{done}")
    lines[-1] += f", with the encoder frozen{some}" if last else ""
    return "\n".join([f"- {', '.join(named)}"] * bool(named) + lines)


def _phase(card: dict, done: dict, optimisation: dict, draws: int) -> str:
    """Iterations, images, epochs and seconds of one phase of training."""
    steps, batch = done["iterations_done"], optimisation.get("batch_size")
    text = f"{steps:,} iterations"
    if batch:
        text += f" of {batch} images" + (f", {draws} noise draws each" if draws > 1 else "")
    often = epochs(card, steps, batch)
    text += f" ({often:.1f} epochs)" if often else ""
    return text + (f", {done['seconds']:,.0f} seconds" if "seconds" in done else "")
