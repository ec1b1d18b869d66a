"""The weekly check of external links tells broken links from those that turn robots away."""

import json

import links


def entry(status, info="", code=0):
    place = {"filename": "book/mnist.md", "lineno": 3, "uri": "https://example.org"}
    return json.dumps({**place, "status": status, "info": info, "code": code})


def test_missing_page_is_broken_and_a_refusal_is_not():
    report = "\n".join(
        [
            entry("working"),
            entry("redirected", code=301),
            entry("broken", "404 Client Error: Not Found for url: https://example.org"),
            entry("broken", "403 Client Error: Forbidden for url: https://example.org"),
            entry("timeout"),
        ]
    )
    broken, unsure = links.sort_out(report)
    assert len(broken) == 1 and "404" in broken[0] and broken[0].startswith("book/mnist.md:3")
    assert len(unsure) == 2
