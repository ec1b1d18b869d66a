"""Data sets: what is loaded, what is refused, and that nothing damaged is used."""

import gzip
import hashlib
import pickle
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from filelock import FileLock

import scorerep.data.sources as data_module
from scorerep.data import DataError, data_root, load_data, shipped
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


@pytest.fixture
def nothing_shipped(monkeypatch, tmp_path):
    """As in an installed library: the repository's ``book/data`` is not at hand."""
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "book" / "data")


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
        ({"name": "digits", "limit": 2.5}, "limit must be at least 1 and whole, got 2.5"),
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


def test_a_class_name_that_was_changed_in_the_cache_is_noticed(small_mnist):
    load_data("mnist", "test", root=small_mnist)
    path = small_mnist / "cache" / "mnist-test.safetensors"
    content = path.read_bytes()
    assert content.count(b'\\"3\\"') == 1
    path.write_bytes(content.replace(b'\\"3\\"', b'\\"7\\"'))
    with pytest.raises(DataError, match="mnist-test.safetensors is damaged"):
        load_data("mnist", "test", root=small_mnist)


def test_what_a_kill_left_beside_the_cache_is_removed(small_mnist):
    (small_mnist / "cache").mkdir()
    (small_mnist / "cache" / ".mnist-test.safetensors.77.part").write_text("half")
    load_data("mnist", "test", root=small_mnist)
    assert [file.name for file in (small_mnist / "cache").iterdir()] == ["mnist-test.safetensors"]


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
def test_no_files_and_no_network_are_one_sentence(
    name, tmp_path, no_network, nothing_shipped, monkeypatch
):
    monkeypatch.setenv("SCOREREP_DATA", str(tmp_path))
    before = socket.getdefaulttimeout()
    with pytest.raises(FileNotFoundError) as caught:
        load_data(name)
    message = str(caught.value)
    assert message.startswith(f"{name} is not in {tmp_path}")
    assert "SCOREREP_DATA" in message and "\n" not in message
    assert "no network in tests" in message  # the reason is kept
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert socket.getdefaulttimeout() == before


def archives(root: Path, missing: str, answer: Callable):
    """A stand-in for torchvision's fetching: the raw file ``missing`` as ``answer`` allows."""
    folder = root / "MNIST" / "raw"
    content = (folder / missing).read_bytes()
    (folder / missing).unlink()

    def fetch(url, download_root, filename, md5):
        answer(url)
        assert filename == f"{missing}.gz" and Path(download_root) != folder
        (Path(download_root) / missing).write_bytes(content)

    return fetch


LABELS = "train-labels-idx1-ubyte"


def test_a_missing_mnist_file_is_downloaded(small_mnist, nothing_shipped, monkeypatch):
    timeouts = []
    fetch = archives(small_mnist, LABELS, lambda _: timeouts.append(socket.getdefaulttimeout()))
    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fetch)
    (small_mnist / ".fetch-mnist" / "half").mkdir(parents=True)  # of a killed download
    assert len(load_data("mnist", "train", root=small_mnist)) == 30
    assert len(timeouts) == 1 and 0 < timeouts[0] <= 15
    assert not (small_mnist / ".fetch-mnist").exists()


@pytest.mark.parametrize(
    "silence", [TimeoutError("timed out"), URLError("refused"), RuntimeError("File not found")]
)
def test_a_mirror_that_fails_does_not_keep_from_the_next(
    small_mnist, nothing_shipped, monkeypatch, silence
):
    asked = []

    def answer(url):
        asked.append(url)
        if len(asked) == 1:
            raise silence

    fetch = archives(small_mnist, LABELS, answer)
    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fetch)
    assert len(load_data("mnist", "train", root=small_mnist)) == 30
    assert len(asked) == 2 and asked[0] != asked[1]


def test_reasons_of_all_mirrors_are_told(small_mnist, nothing_shipped, monkeypatch):
    def answer(url):
        raise TimeoutError("timed out") if "amazon" in url else URLError("no route to host")

    fetch = archives(small_mnist, LABELS, answer)
    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fetch)
    with pytest.raises(FileNotFoundError, match=r"amazon.*: timed out; http.*no route to host"):
        load_data("mnist", "train", root=small_mnist)


FETCH_AT_ONCE = """
import sys, time
from pathlib import Path
import torchvision
import scorerep.data.sources as sources
from scorerep.data import load_data, shipped

root, away, sums = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
shipped.FOLDER = root / "nothing shipped"
sources.MNIST_MD5 = dict(part.split("=") for part in sums.split(","))

def fetch(url, download_root, filename, md5):
    name = filename.removesuffix(".gz")
    with open(root / "fetched", "a") as log:
        log.write(name + "\\n")
    time.sleep(0.2)
    (Path(download_root) / name).write_bytes((away / name).read_bytes())

torchvision.datasets.mnist.download_and_extract_archive = fetch
(root / f"ready-{sys.argv[4]}").touch()
while len(list(root.glob("ready-*"))) < 3:
    time.sleep(0.01)
for split in ("train", "test"):
    print(load_data("mnist", split, root=root).checksum())
"""


def test_processes_that_fetch_at_once_all_get_the_data_and_fetch_it_once(small_mnist, tmp_path):
    expected = [
        load_data("mnist", split, root=small_mnist).checksum() for split in ("train", "test")
    ]
    root = tmp_path / "empty"
    root.mkdir()
    sums = ",".join(f"{name}={md5}" for name, md5 in data_module.MNIST_MD5.items())
    command = [sys.executable, "-c", FETCH_AT_ONCE, root, small_mnist / "MNIST" / "raw", sums]
    started = [
        subprocess.Popen(
            [*command, str(n)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for n in range(3)
    ]
    for process in started:
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        assert out.split() == expected
    assert sorted((root / "fetched").read_text().split()) == sorted(data_module.MNIST_MD5)


def test_a_root_without_a_lock_serves_too(small_mnist, monkeypatch):
    def refuse(self):
        raise PermissionError("read-only")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    assert len(load_data("mnist", "test", root=small_mnist)) == 20


# What comes with the book


def test_mnist_comes_with_the_book_and_is_cached_in_the_data_root(tmp_path, no_network):
    before = sorted(shipped.FOLDER.rglob("*"))
    first, again = (load_data("mnist", "test", root=tmp_path) for _ in range(2))
    assert len(first) == 10_000 and first.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert first.checksum() == again.checksum() == "4718853ea946af65"
    assert [file.name for file in tmp_path.rglob("[!.]*.*")] == ["mnist-test.safetensors"]
    assert sorted(shipped.FOLDER.rglob("*")) == before


def test_torchvision_reads_the_shipped_mnist_once_unpacked(tmp_path, no_network):
    for path in (shipped.FOLDER / "MNIST/raw").glob("*.gz"):
        file = tmp_path / "MNIST/raw" / path.stem
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.decompress(path.read_bytes()))
    theirs = torchvision.datasets.MNIST(tmp_path, train=False)
    images, labels = shipped.mnist("test", data_module.MNIST_MD5)
    assert torch.equal(images[:, 0], theirs.data) and torch.equal(labels, theirs.targets)


def test_files_of_the_data_root_come_before_those_of_the_book(small_mnist):
    assert len(load_data("mnist", "test", root=small_mnist)) == 20


@pytest.mark.parametrize("split", ["train", "test"])
def test_part_of_cifar_is_of_all_classes_first_and_then_of_three(split, tmp_path):
    data = load_data("cifar10-part", split, root=tmp_path)
    assert data.image_shape == (3, 32, 32) and data.name == "cifar10-part"
    assert data.labels.bincount().tolist() == [500] * 3 + [125] * 7
    assert data.labels[:1_250].tolist() == list(range(10)) * 125
    assert len(data.select(data.classes[:3])) == 1_500
    assert not any(tmp_path.iterdir())


def test_a_part_is_not_taken_for_the_whole(tmp_path, no_network):
    with pytest.raises(FileNotFoundError, match="cifar10 is not in .*'cifar10-part'"):
        load_data("cifar10", "test", root=tmp_path)


def test_shipped_files_that_are_damaged_or_absent_are_named(tmp_path, monkeypatch):
    source, copy = shipped.FOLDER, tmp_path / "book" / "data"
    monkeypatch.setattr(shipped, "FOLDER", copy)
    with pytest.raises(FileNotFoundError, match="comes with the book's repository"):
        load_data("cifar10-part", "test")
    shutil.copytree(source / "cifar10/test", copy / "cifar10/test")
    shutil.copytree(source / "MNIST", copy / "MNIST")
    sheet, digits = copy / "cifar10/test/cat.webp", copy / "MNIST/raw/t10k-images-idx3-ubyte.gz"
    shutil.copy(copy / "cifar10/test/dog.webp", sheet)
    with pytest.raises(DataError, match="test is missing or damaged .*SHA-256"):
        load_data("cifar10-part", "test")
    sheet.write_bytes(sheet.read_bytes()[:1_000])
    with pytest.raises(DataError, match="cat.webp is missing or damaged"):
        load_data("cifar10-part", "test")
    digits.write_bytes(gzip.compress(bytes(10_000 * 784 + 16), 1))
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte.gz is missing .*published"):
        load_data("mnist", "test", root=tmp_path / "root")
    digits.unlink()
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte.gz is missing"):
        load_data("mnist", "test", root=tmp_path / "root")


def test_the_folder_of_the_book_is_never_the_data_root(monkeypatch):
    monkeypatch.delenv("SCOREREP_DATA", raising=False)
    monkeypatch.chdir(shipped.FOLDER.parent)
    assert data_root() == shipped.FOLDER.parents[1] / "data"
    monkeypatch.chdir(shipped.FOLDER.parents[1])
    assert str(data_root()) == "data"


def test_what_is_shipped_stays_small():
    size = sum(file.stat().st_size for file in shipped.FOLDER.rglob("*") if file.is_file())
    assert size < 20e6


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
    images = rng.integers(0, 256, (10, 3_072), dtype=np.uint8)
    contents = {
        "test_batch": {"data": images, "labels": list(range(10))},
        "batches.meta": {"label_names": torchvision_classes()},
    } | {f"data_batch_{n}": {"data": images[:2], "labels": [n, n]} for n in range(1, 6)}
    contents = {name: pickle.dumps(value) for name, value in contents.items()}
    sums = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    kind, asked = torchvision.datasets.CIFAR10, []
    monkeypatch.setattr(
        kind, "train_list", [[f"data_batch_{n}", sums[f"data_batch_{n}"]] for n in range(1, 6)]
    )
    monkeypatch.setattr(kind, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": sums["batches.meta"]})

    def fetch(url, download_root, filename, md5):
        asked.append(url)
        place = Path(download_root) / kind.base_folder
        place.mkdir()
        for name, content in contents.items():
            (place / name).write_bytes(content)

    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", fetch)
    first, again = (load_data("cifar10", "test", root=tmp_path) for _ in range(2))
    assert len(asked) == 1 and first.checksum() == again.checksum()
    assert np.array_equal(again.images.numpy(), images.reshape(-1, 3, 32, 32))
    assert again.classes == tuple(torchvision_classes()) == data_module.CLASSES["cifar10"]
    assert load_data("cifar10", "train", root=tmp_path).labels.tolist()[:3] == [1, 1, 2]
    assert len(asked) == 1 and len(list((tmp_path / kind.base_folder).iterdir())) == 7


# The real files, where they are


def test_the_real_mnist_has_its_published_size_and_mean():
    train, test = load_data("mnist", "train"), load_data("mnist", "test")
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    pixels = train.images.double() / 255
    assert float(pixels.mean()) == pytest.approx(0.1307, abs=5e-5)
    assert float(pixels.std()) == pytest.approx(0.3081, abs=5e-5)


@pytest.mark.all_of_cifar
def test_the_real_cifar_has_its_published_size_and_channel_means():
    train = load_data("cifar10", "train")
    assert train.labels.bincount().tolist() == [5_000] * 10
    mean = train.images.sum((0, 2, 3)).double() / (50_000 * 1_024 * 255)
    published = torch.tensor([0.49139968, 0.48215841, 0.44653091], dtype=torch.float64)
    torch.testing.assert_close(mean, published, atol=1e-8, rtol=0)


@pytest.mark.all_of_cifar
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_part_of_cifar_that_comes_with_the_book_is_of_the_real_one(split):
    part, whole = load_data("cifar10-part", split), load_data("cifar10", split)
    assert part.classes == whole.classes
    known = {image.numpy().tobytes(): int(k) for image, k in zip(whole.images, whole.labels)}
    found = [known.get(image.numpy().tobytes()) for image in part.images]
    assert found == part.labels.tolist()
