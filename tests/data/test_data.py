"""Data sets: what is loaded, what is refused, and that nothing damaged is used."""

import hashlib
import socket
import struct
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision

import scorerep.data.sources as data_module
from scorerep.data import DataError, load_data
from scorerep.data.images import ImageData, to_float, to_uint8


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """A data root with MNIST's four files, cut to 30 and 20 images, and their sums."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    sums = {}
    for prefix, n in (("train", 30), ("t10k", 20)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = np.arange(n, dtype=np.uint8) % 10
        contents = {
            f"{prefix}-images-idx3-ubyte": struct.pack(">4i", 2051, n, 28, 28) + images.tobytes(),
            f"{prefix}-labels-idx1-ubyte": struct.pack(">2i", 2049, n) + labels.tobytes(),
        }
        for name, content in contents.items():
            (folder / name).write_bytes(content)
            sums[name] = hashlib.md5(content).hexdigest()
    monkeypatch.setattr(data_module, "MNIST_MD5", sums)
    return tmp_path


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise URLError("no network in tests")

    for module in (torchvision.datasets.mnist, torchvision.datasets.cifar):
        monkeypatch.setattr(module, "download_and_extract_archive", refuse)


def write_cifar(root, split="train", n=20, **changes):
    rng = np.random.default_rng(1)
    arrays = {
        "images": rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8),
        "labels": np.arange(n) % 10,
        "classes": np.array(torchvision_classes()),
    }
    (root / "cifar10").mkdir(exist_ok=True)
    path = root / "cifar10" / f"{split}.npz"
    np.savez(path, **{**arrays, **changes})
    return path


def torchvision_classes():
    return "airplane automobile bird cat deer dog frog horse ship truck".split()


def real_root(*files):
    root = data_module.data_root()
    if not all((root / file).exists() for file in files):
        pytest.skip(f"SCOREREP_DATA does not lead to {' and '.join(files)}")


# Pixels


def test_to_uint8_inverts_to_float_for_every_value():
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    floats = to_float(values)
    assert floats.dtype == torch.float32
    assert (float(floats.min()), float(floats.max())) == (-1, 1)
    assert torch.equal(to_uint8(floats), values)
    assert to_uint8(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_batch_gives_floats_of_the_chosen_images():
    data = load_data("digits", "test")
    indices = torch.tensor([3, 1])
    assert torch.equal(data.batch(indices), data.floats()[[3, 1]])
    assert data.image_shape == (1, 8, 8) and data.images.dtype == torch.uint8


# Digits, which need no files


def test_digits_split_every_class_four_to_one_and_use_every_image_once():
    train, test = load_data("digits", "train"), load_data("digits", "test")
    assert len(train) + len(test) == 1797
    share = test.labels.bincount() / (train.labels.bincount() + test.labels.bincount())
    assert share.min() > 0.19 and share.max() <= 0.2
    assert (int(train.images.min()), int(train.images.max())) == (0, 255)
    from sklearn.datasets import load_digits

    pixels = int(train.images.sum() + test.images.sum())
    assert abs(pixels - load_digits().images.sum() * 255 / 16) < 0.5 * 1797 * 64


def test_chosen_classes_are_renumbered_in_the_order_given():
    whole = load_data("digits", "test")
    data = load_data("digits", "test", classes=["7", 2])
    assert data.classes == ("7", "2")
    assert torch.equal(data.images[data.labels == 0], whole.images[whole.labels == 7])
    assert torch.equal(data.images[data.labels == 1], whole.images[whole.labels == 2])
    assert len(data) == int(((whole.labels == 7) | (whole.labels == 2)).sum())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mnits"}, "unknown data set 'mnits': there are digits, mnist, cifar10"),
        ({"name": "digits", "split": "valid"}, "split must be"),
        ({"name": "digits", "classes": []}, "classes is empty: digits has the classes 0, 1"),
        ({"name": "digits", "classes": ["cat"]}, "unknown class 'cat': digits has the classes 0"),
        ({"name": "digits", "classes": [10]}, "unknown class 10"),
        ({"name": "digits", "classes": [-1]}, "unknown class -1"),
        ({"name": "digits", "classes": [3, "3"]}, "names a class twice"),
        ({"name": "digits", "limit": 0}, "limit must be at least 1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_data(**arguments)


def test_limit_and_subset_take_the_first_images_or_a_seeded_draw():
    data = load_data("digits", "train")
    assert torch.equal(load_data("digits", "train", limit=7).images, data.images[:7])
    assert len(load_data("digits", "train", limit=10**6)) == len(data)
    first, again = (data.subset(50, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, data.subset(50).images)
    every = data.subset(len(data), torch.Generator().manual_seed(3))
    assert torch.equal(every.labels.bincount(), data.labels.bincount())
    with pytest.raises(ValueError, match="n must lie in"):
        data.subset(len(data) + 1)


def test_checksum_notices_a_pixel_a_label_and_a_shape():
    data = load_data("digits", "test")
    images, labels = data.images.clone(), data.labels.clone()
    images[5, 0, 3, 3] += 1
    labels[5] = (labels[5] + 1) % 10
    others = [
        ImageData(images, data.labels, data.classes, "digits", "test"),
        ImageData(data.images, labels, data.classes, "digits", "test"),
        ImageData(data.images.reshape(-1, 1, 4, 16), data.labels, data.classes, "digits", "test"),
    ]
    sums = {part.checksum() for part in (data, *others)}
    assert len(sums) == 4 and all(len(s) == 16 for s in sums)
    assert data.to("cpu").checksum() == data.checksum() == load_data("digits", "test").checksum()


def test_parts_that_do_not_fit_together_are_refused():
    images, labels = torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1, 0])
    ImageData(images, labels, ("a", "b"), "x", "train")
    for bad in (
        (images.float(), labels),
        (images[0], labels),
        (images[:0], labels[:0]),
        (images, labels[:2]),
        (images, labels.int()),
        (images, labels + 1),
    ):
        with pytest.raises(ValueError, match="images must be|labels must"):
            ImageData(*bad, ("a", "b"), "x", "train")


# MNIST


def test_mnist_is_converted_once_and_then_read_from_the_cache(small_mnist):
    first = load_data("mnist", "train", root=small_mnist)
    assert first.image_shape == (1, 28, 28) and len(first) == 30
    assert first.labels.tolist() == [i % 10 for i in range(30)]
    raw = (small_mnist / "MNIST/raw/train-images-idx3-ubyte").read_bytes()[16:]
    assert first.images.numpy().tobytes() == raw
    for file in (small_mnist / "MNIST" / "raw").iterdir():
        file.unlink()
    again = load_data("mnist", "train", root=small_mnist)
    assert again.checksum() == first.checksum() and again.classes == first.classes
    assert [file.name for file in (small_mnist / "cache").iterdir()] == ["mnist-train.safetensors"]


@pytest.mark.parametrize("damage", ["truncated", "one bit"])
def test_a_damaged_mnist_file_is_named(small_mnist, damage):
    path = small_mnist / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[-100:]
    else:
        content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte is damaged"):
        load_data("mnist", "test", root=small_mnist)
    assert not (small_mnist / "cache").exists()


@pytest.mark.parametrize("damage", ["truncated", "one bit", "not a cache"])
def test_a_damaged_cache_is_named(small_mnist, damage):
    load_data("mnist", "test", root=small_mnist)
    path = small_mnist / "cache" / "mnist-test.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[-100:]
    elif damage == "one bit":
        content[-500] ^= 1
    else:
        content = b"hello"
    path.write_bytes(content)
    with pytest.raises(DataError, match="mnist-test.safetensors is damaged"):
        load_data("mnist", "test", root=small_mnist)


def test_a_root_that_cannot_be_written_to_serves_without_cache(small_mnist):
    (small_mnist / "cache").write_text("a file in the way")
    assert len(load_data("mnist", "test", root=small_mnist)) == 20


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_no_files_and_no_network_are_one_sentence(name, tmp_path, no_network, monkeypatch):
    monkeypatch.setenv("SCOREREP_DATA", str(tmp_path))
    before = socket.getdefaulttimeout()
    with pytest.raises(FileNotFoundError) as caught:
        load_data(name)
    message = str(caught.value)
    assert message.startswith(f"{name} is not in {tmp_path}")
    assert "SCOREREP_DATA" in message and "\n" not in message
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert socket.getdefaulttimeout() == before


def test_a_missing_mnist_file_is_downloaded(small_mnist, monkeypatch):
    folder = small_mnist / "MNIST" / "raw"
    kept = {file.name: file.read_bytes() for file in folder.iterdir()}
    (folder / "train-labels-idx1-ubyte").unlink()
    timeouts = []

    def fetch(url, download_root, filename, md5):
        timeouts.append(socket.getdefaulttimeout())
        name = filename.removesuffix(".gz")
        (folder / name).write_bytes(kept[name])

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fetch)
    assert len(load_data("mnist", "train", root=small_mnist)) == 30
    assert timeouts and all(0 < t <= 15 for t in timeouts)


# CIFAR-10


def test_a_prepared_cifar_file_is_read_as_is(tmp_path):
    path = write_cifar(tmp_path)
    data = load_data("cifar10", "train", root=tmp_path)
    with np.load(path) as file:
        assert np.array_equal(data.images.numpy(), file["images"])
        assert np.array_equal(data.labels.numpy(), file["labels"])
    assert data.classes == tuple(torchvision_classes())
    assert not (tmp_path / "cache").exists()
    two = load_data("cifar10", "train", root=tmp_path, classes=["bird", "airplane"])
    assert two.labels.tolist() == [1, 0, 1, 0]


def test_a_class_without_images_is_an_error(tmp_path):
    write_cifar(tmp_path, labels=np.zeros(20, np.int64))
    with pytest.raises(ValueError, match="no train image of class 'cat'"):
        load_data("cifar10", "train", root=tmp_path, classes=["airplane", "cat"])


def test_a_damaged_prepared_file_is_named(tmp_path):
    path = write_cifar(tmp_path)
    content = path.read_bytes()
    changed = bytearray(content)
    changed[2000] ^= 1
    for damaged in (content[:-1000], content[:100], b"", b"not a zip file", bytes(changed)):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="train.npz is damaged"):
            load_data("cifar10", "train", root=tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((20, 32, 32, 3), np.uint8)}, r"must hold images \(N, 3, 32, 32\)"),
        ({"images": np.zeros((20, 3, 32, 32), np.float32)}, "images must be uint8"),
        ({"images": np.zeros((0, 3, 32, 32), np.uint8), "labels": np.zeros(0, int)}, "not empty"),
        ({"labels": np.arange(19) % 10}, "labels must be int64"),
        ({"labels": np.zeros(20)}, "integer labels"),
        ({"labels": np.full(20, 10)}, "labels must lie in 0..9"),
    ],
)
def test_a_prepared_file_of_other_arrays_is_refused(tmp_path, changes, message):
    write_cifar(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as caught:
        load_data("cifar10", "train", root=tmp_path)
    assert "train.npz" in str(caught.value)


def test_a_damaged_original_cifar_batch_is_named(tmp_path, no_network):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_3").write_bytes(b"cut off")
    with pytest.raises(DataError, match="data_batch_3 is damaged"):
        load_data("cifar10", "train", root=tmp_path)


def test_cifar_from_torchvision_is_cached_channel_first(tmp_path, monkeypatch):
    rng = np.random.default_rng(2)

    class Fake(torchvision.datasets.CIFAR10):
        def __init__(self, root, train, download):
            self.data = rng.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
            self.targets = list(range(10))
            self.classes = torchvision_classes()
            made.append(self)

    made = []
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Fake)
    first, again = (load_data("cifar10", "test", root=tmp_path) for _ in range(2))
    assert len(made) == 1 and first.checksum() == again.checksum()
    assert np.array_equal(again.images.permute(0, 2, 3, 1).numpy(), made[0].data)


# The real files, where they are


def test_the_real_mnist_has_its_published_size_and_mean():
    real_root("MNIST/raw/t10k-images-idx3-ubyte", "MNIST/raw/train-images-idx3-ubyte")
    train, test = load_data("mnist", "train"), load_data("mnist", "test")
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    pixels = train.images.double() / 255
    assert float(pixels.mean()) == pytest.approx(0.1307, abs=5e-5)
    assert float(pixels.std()) == pytest.approx(0.3081, abs=5e-5)


def test_the_real_cifar_has_its_published_size_and_channel_means():
    real_root("cifar10/train.npz")
    train = load_data("cifar10", "train")
    if len(train) != 50_000:
        pytest.skip("the prepared file holds only some classes")
    assert train.labels.bincount().tolist() == [5_000] * 10
    mean = train.images.sum((0, 2, 3)).double() / (50_000 * 1_024 * 255)
    published = torch.tensor([0.49139968, 0.48215841, 0.44653091], dtype=torch.float64)
    torch.testing.assert_close(mean, published, atol=1e-8, rtol=0)
