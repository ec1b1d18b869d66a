"""Checkpoints: a folder of safetensors files and one JSON card. Never pickle.

    model.safetensors      the weights to use (the averaged ones), float32 or float16
    training.safetensors   what resuming needs: raw weights and the optimiser's state
    card.json              which experiment, how far, how long, on what, from which data

Every file is written under a temporary name and renamed, so that a reader (or a
killed run) sees the old file or the new one, never half of one. What was written is
known again: a file of tensors carries the SHA-256 of its contents, the card that of
the weights beside it, and both are checked on reading.

    files     whole files, tensors;   cards   the card, dataclasses as JSON
    weights   of a model beside its card;   state   of optimisers
    hub       weights by name: shipped, in a folder, or on the Hugging Face hub
    page      what a card says, in words: sections of a README
"""

from scorerep.checkpoint.cards import (
    check_weights,
    from_json,
    read_card,
    read_entry,
    to_json,
    write_card,
)
from scorerep.checkpoint.files import (
    CheckpointError,
    check_writable,
    read_tensors,
    remove_parts,
    write_tensors,
    write_whole,
)
from scorerep.checkpoint.hub import Shared, citation, locate, shipped
from scorerep.checkpoint.state import load_optimizer_tensors, optimizer_tensors
from scorerep.checkpoint.weights import fill, load_weights

__all__ = [
    "CheckpointError",
    "Shared",
    "check_weights",
    "check_writable",
    "citation",
    "fill",
    "from_json",
    "load_optimizer_tensors",
    "load_weights",
    "locate",
    "optimizer_tensors",
    "read_card",
    "read_entry",
    "read_tensors",
    "remove_parts",
    "shipped",
    "to_json",
    "write_card",
    "write_tensors",
    "write_whole",
]
