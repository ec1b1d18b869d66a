"""The page with the whole method is the file to copy, stands alone, and learns."""

import ast

import torch

from book import one_page
from book.tools import chapters

FILE = chapters.ROOT / "book" / "one_page.py"


def test_page_holds_the_code_of_the_file_in_order():
    functions, _ = FILE.read_text("utf-8").split('\n\n\nif __name__ == "__main__":')
    pieces = functions.split('"""', 2)[2].strip("\n").split("\n\n\n")
    code = "\n\n\n".join(
        cell.source for cell in chapters.code_cells(chapters.read(FILE.with_suffix(".md")))
    )
    places = [code.find(piece) for piece in pieces]
    assert -1 not in places and places == sorted(places)


def test_file_is_short_and_imports_nothing_of_the_library():
    source = FILE.read_text("utf-8")
    assert len(source.splitlines()) <= 150
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported == {"math", "torch", "sklearn"}


def test_loss_of_the_zero_score_is_one_and_training_lowers_it():
    class Zero(one_page.ScoreModel):
        def score(self, x_t, tau, z):
            return torch.zeros_like(x_t)

    x, _ = one_page.load()
    torch.manual_seed(0)
    zero = one_page.objective(Zero(), x, "uniform t", penalty=0.0).item()
    assert abs(zero - 1) < 0.02
    losses = [
        one_page.objective(one_page.train(x, "uniform t", steps), x, "uniform t").item()
        for steps in (1, 200)
    ]
    assert losses[1] < 0.95 * losses[0]


def test_sampler_moves_a_gaussian_to_a_gaussian():
    class Gaussian:  # x_0 ~ N(0, 0.5^2): D = x_t v/(v + tau^2)
        def denoise(self, x_t, tau, z):
            return x_t * 0.25 / (0.25 + tau**2)

        def score(self, x_t, tau, z):
            return -x_t / (0.25 + tau**2)

    torch.manual_seed(0)
    x = one_page.sample(Gaussian(), torch.zeros(500, 2))
    assert abs(float(x.std()) - 0.5) < 0.01
