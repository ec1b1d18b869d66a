"""The Fréchet distance within classes, where the one of all classes together is blind."""

import pytest
import torch

from book.studies.guidance import within_classes
from scorerep.quality import frechet_distance


def test_distance_within_classes_sees_what_all_together_hide():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    real = torch.randn(400, 3, generator=generator)
    # Shifted alike: the distance is the squared shift, of each class and of all.
    shifted = real + torch.tensor([2.0, 0.0, 0.0])
    assert within_classes(real, labels, shifted, labels) == pytest.approx(4, rel=1e-6)
    assert frechet_distance(real, shifted) == pytest.approx(4, rel=1e-6)
    # The same images under exchanged labels: nothing is wrong but the classes.
    apart = real + 5.0 * labels[:, None]
    assert frechet_distance(apart, apart) == pytest.approx(0, abs=1e-6)
    assert within_classes(apart, labels, apart, 1 - labels) > 3 * 4.5**2
