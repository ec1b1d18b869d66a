"""Pictures of one's own: folders, files, data sets in Python, and what is wrong with them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from scorerep.data import (
    DataError,
    ImageData,
    PointData,
    every_fifth,
    from_dataset,
    load_data,
)
from scorerep.data.arrays import in_bytes, is_test, save_npz
from scorerep.data.folders import listed
from scorerep.data.pictures import BadPicture, header, picture, pixels


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Two classes of twelve grey pictures each, 8×8, and what is no picture."""
    for k, name in enumerate(("b", "a")):
        (tmp_path / "set" / name / "deeper").mkdir(parents=True)
        for i in range(12):
            place = tmp_path / "set" / name / ("deeper" if i == 11 else ".")
            Image.fromarray(noise(8, 8, seed=100 * k + i)).save(place / f"{i:02d}.png")
    (tmp_path / "set" / "a" / "notes.txt").write_text("no picture")
    (tmp_path / "set" / "a" / ".hidden.png").write_text("no picture")
    return tmp_path / "set"


# One picture


def test_a_picture_is_turned_as_its_camera_says(tmp_path):
    values = noise(6, 9, 3)
    upright = Image.fromarray(values)
    exif = Image.Exif()
    exif[274] = 6  # turn by a quarter to the right to see it upright
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert header(tmp_path / "turned.png") == (6, 9, False)
    assert np.array_equal(picture(tmp_path / "turned.png", (6, 9), 3), values.transpose(2, 0, 1))


def test_transparency_lies_on_white(tmp_path):
    layer = Image.new("RGBA", (4, 4), (200, 100, 0, 0))
    layer.paste((200, 100, 0, 255), (0, 0, 2, 4))
    layer.save(tmp_path / "layer.png")
    palette = layer.quantize()  # a palette with one transparent colour
    palette.save(tmp_path / "layer.gif", transparency=palette.getpixel((3, 0)))
    for name in ("layer.png", "layer.gif"):
        found = picture(tmp_path / name, (4, 4), 3)
        assert found[:, :, 2:].min() == 255
        assert np.abs(found[:, 0, 0] - np.array([200.0, 100.0, 0.0])).max() <= 3
    half = Image.new("LA", (2, 2), (0, 51))  # black, one fifth opaque
    assert (pixels(half, (2, 2), 1) == 204).all()


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    for name in ("deep.png", "deep.tif"):
        assert header(tmp_path / name).grey
        found = picture(tmp_path / name, (8, 8), 1)[0].astype(int)
        assert np.abs(found - deep / 257).max() <= 0.5 and len(np.unique(found)) == 64


def test_pixels_that_have_no_scale_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(tmp_path / "int.tif")
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "float.tif")
    for name, reason in (("int.tif", "more than 16 bits"), ("float.tif", "floats")):
        with pytest.raises(BadPicture, match=f"{name}: .*{reason}"):
            picture(tmp_path / name, (4, 4), 1)


def test_another_size_covers_and_cuts_the_middle_out(tmp_path):
    values = np.zeros((20, 40), np.uint8)
    values[:, 10:30] = 255  # the middle square is white
    Image.fromarray(values).save(tmp_path / "wide.png")
    assert picture(tmp_path / "wide.png", (8, 8), 1)[0, :, 1:-1].min() == 255
    small = picture(tmp_path / "wide.png", (10, 20), 1)
    assert np.array_equal(small, pixels(ImageOps.scale(Image.fromarray(values), 0.5), None, 1))


def test_the_first_frame_and_palettes_colours_are_taken(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert picture(tmp_path / "film.gif", (4, 4), 3)[:, 0, 0].tolist() == [255, 0, 0]
    Image.new("CMYK", (4, 4), (0, 0, 0, 255)).save(tmp_path / "print.jpg")
    assert picture(tmp_path / "print.jpg", (4, 4), 3).max() <= 5


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "one byte"])
def test_a_damaged_picture_is_named(tmp_path, damage):
    path = tmp_path / "bad.png"
    Image.fromarray(noise(32, 32)).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    cut = content[: len(content) // 2]
    path.write_bytes({"empty": b"", "text": b"hello", "cut": cut, "one byte": content}[damage])
    with pytest.raises(BadPicture, match="bad.png"):
        picture(path, (32, 32), 1)


# Folders


def test_folders_are_classes_and_every_fifth_picture_is_a_test_picture(folder, caplog):
    train, test = load_data(folder, "train"), load_data(str(folder), "test")
    assert train.classes == test.classes == ("a", "b") and train.name == "set"
    assert train.labelled and train.image_shape == (1, 8, 8)
    assert train.labels.bincount().tolist() == [10, 10]
    assert test.labels.bincount().tolist() == [2, 2]
    # In the order of names, where "deeper/11.png" comes last: those at 4 and at 9.
    wanted = [noise(8, 8, seed=100 * k + i) for k in (1, 0) for i in (4, 9)]
    assert np.array_equal(test.images[:, 0], np.stack(wanted))
    assert "1 files (.txt) are left alone" in caplog.text
    assert load_data(folder, "train").checksum() == train.checksum()
    assert test.files == ("a/04.png", "a/09.png", "b/04.png", "b/09.png")
    assert load_data(folder, "test", classes=["b"]).files == test.files[2:]
    assert len(load_data(folder, "all")) == 24


def test_a_damaged_picture_is_refused_or_skipped_and_moves_no_other(folder, caplog):
    test = load_data(folder, "test")
    first = folder / "a" / "00.png"
    first.write_bytes(first.read_bytes()[:20])
    for split in ("train", "test"):  # of both splits, so that it is known before the training
        with pytest.raises(DataError, match="1 picture that is .*00.png.*--damaged skip"):
            load_data(folder, split)
    train = load_data(folder, "train", damaged="skip")
    assert len(train) == 19 and "00.png" in caplog.text
    assert torch.equal(load_data(folder, "test", damaged="skip").images, test.images)


def test_folders_for_the_splits_are_taken_as_they_are(folder):
    for part, k in (("train", 3), ("val", 2)):
        for name in "ab":
            (folder.parent / "parts" / part / name).mkdir(parents=True)
            for i in range(k):
                target = folder.parent / "parts" / part / name / f"{i}.png"
                target.write_bytes((folder / name / f"{i:02d}.png").read_bytes())
    train, test = (load_data(folder.parent / "parts", split) for split in ("train", "test"))
    assert (len(train), len(test)) == (6, 4) and test.classes == ("a", "b")
    (folder.parent / "parts" / "val" / "c").mkdir()
    (folder.parent / "parts" / "val" / "b" / "0.png").rename(
        folder.parent / "parts" / "val" / "c" / "0.png"
    )
    with pytest.raises(ValueError, match="the same classes, got a, b and a, b, c"):
        load_data(folder.parent / "parts")


def test_pictures_without_folders_have_no_labels(folder):
    (folder / "a" / "deeper" / "11.png").rename(folder / "a" / "11.png")
    data = load_data(folder / "a", "test")
    assert not data.labelled and data.classes == ("unlabelled",) and len(data) == 2
    assert data.labels.tolist() == [0, 0]


def test_colour_is_that_of_the_pictures_unless_asked_for(folder):
    Image.fromarray(noise(8, 8, 3)).save(folder / "a" / "00.png")
    assert load_data(folder, "test").image_shape == (3, 8, 8)  # both splits alike
    assert load_data(folder, "test", colour="grey").image_shape == (1, 8, 8)
    Image.fromarray(noise(9, 8)).save(folder / "a" / "01.png")
    with pytest.raises(ValueError, match=r"2 sizes \(8×8, 9×8 .*--size 32 32"):
        load_data(folder)
    assert load_data(folder, size=(4, 6)).image_shape == (3, 4, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: [file.unlink() for file in f.rglob("*.png")], "has no pictures; they are"),
        (lambda f: Image.fromarray(noise(8, 8)).save(f / "x.png"), "beside folders of pictures"),
        (lambda f: [(f / "b" / f"{i:02d}.png").unlink() for i in range(3)], "9 pictures of the"),
    ],
)
def test_folder_that_is_no_data_set_is_refused(folder, change, message):
    change(folder)
    with pytest.raises(ValueError, match=message):
        load_data(folder)


def test_listing_is_the_same_for_both_splits_and_uses_every_picture_once(folder):
    files = [file for split in ("train", "test") for file, _ in listed(folder, split)[0]]
    assert len(files) == len(set(files)) == 24


# Arrays


def test_a_file_of_both_splits_gives_the_same_pictures_as_the_folder(folder, tmp_path):
    parts = [load_data(folder, split) for split in ("train", "test")]
    save_npz(tmp_path / "set.npz", *parts)
    for part in parts:
        again = load_data(tmp_path / "set.npz", part.split)
        assert again.checksum() == part.checksum() and again.classes == part.classes
    assert len(load_data(tmp_path / "set.npz", "all")) == 24
    grey = load_data(tmp_path / "set.npz", "test", size=(4, 4), colour="rgb")
    direct = load_data(folder, "test", size=(4, 4), colour="rgb")
    assert torch.equal(grey.images, direct.images)


@pytest.mark.parametrize(
    ("arrays", "shape"),
    [
        ({"images": noise(30, 8, 8)}, (1, 8, 8)),
        ({"images": noise(30, 8, 6, 3)}, (3, 8, 6)),
        ({"images": noise(30, 3, 8, 6), "labels": np.arange(30) % 3}, (3, 8, 6)),
        ({"images": noise(30, 8, 8) / 255, "labels": np.array(list("abc") * 10)}, (1, 8, 8)),
        ({"x_train": noise(24, 8, 8), "y_train": np.arange(24) % 3,
          "x_test": noise(6, 8, 8), "y_test": np.arange(6) % 3}, (1, 8, 8)),
        ({"train_images": noise(24, 8, 8), "train_labels": (np.arange(24) % 3)[:, None],
          "test_images": noise(6, 8, 8), "test_labels": (np.arange(6) % 3)[:, None]}, (1, 8, 8)),
    ],
)  # fmt: skip
def test_files_of_many_makers_are_read(tmp_path, arrays, shape):
    np.savez(tmp_path / "some.npz", **arrays)
    train, test = (load_data(tmp_path / "some.npz", split) for split in ("train", "test"))
    assert train.image_shape == test.image_shape == shape and (len(train), len(test)) == (24, 6)
    known = set(arrays) - {"images"}
    assert train.labelled == bool(known)
    assert train.labels.bincount().tolist() == ([8, 8, 8] if known else [24])
    if known and "labels" not in arrays:
        assert test.labels.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pixels": noise(30, 8, 8)}, "must have arrays named images, .* got pixels"),
        ({"images": noise(30, 8, 8) / 100}, r"floats in \[0, 1\]"),
        ({"images": noise(30, 8, 8, 5)}, "grey, or"),
        ({"images": noise(30, 8, 8), "labels": np.arange(29)}, "labels must be 30 whole numbers"),
        ({"images": noise(30, 8, 8), "labels": np.arange(30) / 2}, "labels must be 30 whole"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "some.npz", **arrays)
    with pytest.raises(DataError, match=f"some.npz.*{message}"):
        load_data(tmp_path / "some.npz")


def test_a_file_that_is_no_npz_and_a_path_to_nothing_are_one_sentence(tmp_path):
    (tmp_path / "some.npz").write_text("no archive")
    with pytest.raises(DataError, match="some.npz is damaged or not a data file"):
        load_data(tmp_path / "some.npz")
    with pytest.raises(ValueError, match="unknown data set .*nowhere.*no folder or file"):
        load_data(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="size, colour and damaged are of your own pictures"):
        load_data("digits", size=(16, 16))


def test_every_fifth_of_each_class_is_for_tests():
    labels = np.array([0, 1, 0, 0, 0, 0, 1, 1, 1, 1])
    assert is_test(labels).tolist() == [False] * 5 + [True] + [False] * 3 + [True]
    pixels = torch.arange(20, dtype=torch.uint8)[:, None, None, None].expand(20, 1, 4, 4)
    data = ImageData(pixels, torch.arange(20) % 2, ("a", "b"), "x", "train")
    train, test = every_fifth(data)
    assert test.images[:, 0, 0, 0].tolist() == [8, 9, 18, 19] and test.split == "test"
    assert len(train) == 16
    with pytest.raises(ValueError, match="files must name each of the 20 images or none, got 3"):
        replace(data, files=("a", "b", "c"))


def test_pixels_of_every_kind_become_bytes():
    assert in_bytes(np.array([True, False])).tolist() == [255, 0]
    assert in_bytes(np.array([0, 65535, 32768], np.uint16)).tolist() == [0, 255, 128]
    assert in_bytes(np.array([0, 255])).tolist() == [0, 255]
    assert in_bytes(np.array([0, 0.5, 1], np.float16)).tolist() == [0, 128, 255]
    for bad in (np.array([-1.0, 1.0]), np.array([0, 256]), np.array([np.nan])):
        with pytest.raises(ValueError, match="pictures must be bytes"):
            in_bytes(bad)


# Data sets in Python


class Rows(list):
    """As of Hugging Face's datasets: dictionaries, and features that name the classes."""

    class Names:
        names = ("cat", "dog")

    features = {"label": Names()}


def test_data_sets_of_torchvision_and_hugging_face_are_taken():
    from torch.utils.data import Subset
    from torchvision.datasets import FakeData
    from torchvision.transforms import ToTensor

    fake = FakeData(12, (3, 8, 6), num_classes=2)
    fake.classes = ["cat", "dog"]
    pictures = [fake[i] for i in range(12)]
    wanted = np.stack([np.asarray(image).transpose(2, 0, 1) for image, _ in pictures])
    tensors = FakeData(12, (3, 8, 6), num_classes=2, transform=ToTensor())
    tensors.classes = fake.classes
    rows = Rows({"image": image, "label": int(label)} for image, label in pictures)
    for dataset in (fake, tensors, rows, Subset(fake, range(12))):
        data = from_dataset(dataset, "test")
        assert torch.equal(data.images, torch.from_numpy(wanted))
        assert data.labels.tolist() == [int(label) for _, label in pictures]
        assert data.classes == ("cat", "dog") and data.split == "test"
    alone = from_dataset([image for image, _ in pictures], size=(4, 4), colour="grey", name="mine")
    assert alone.image_shape == (1, 4, 4) and not alone.labelled and alone.name == "mine"
    assert not from_dataset(fake, labelled=False).labelled


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ([], "length of dataset must be at least 1"),
        ([noise(8, 8), noise(8, 9)], "several sizes, such as 8×8 and 8×9"),
        ([{"pixels": noise(8, 8)}], "an entry image or img, got pixels"),
        ([(noise(8, 8), 0.5)] * 3, "labels must be 3 whole numbers"),
        ([noise(8, 8) - 1.0] * 3, r"floats in \[0, 1\]"),
        (["a.png"] * 3, "Pillow's pictures, tensors or arrays, got str"),
    ],
)
def test_data_set_of_something_else_is_refused(dataset, message):
    with pytest.raises(ValueError, match=message):
        from_dataset(dataset)


def test_points_are_a_data_set():
    points = PointData(torch.randn(6, 2), torch.arange(6) % 2)
    assert len(points.to("cpu")) == 6
    assert torch.equal(points.batch(torch.tensor([4, 1])), points.points[[4, 1]])
    with pytest.raises(ValueError, match="points must be floats"):
        PointData(torch.arange(4)[:, None])
    with pytest.raises(ValueError, match="labels must be 4 integers"):
        PointData(torch.randn(4, 2), torch.arange(3))
