"""`python -m scripts.reference [--check]`: writes the reference pages, or tells whether they are current."""

import sys
from collections.abc import Callable
from pathlib import Path

from scripts.reference.configuration import configuration_page
from scripts.reference.decisions import decisions_page
from scripts.reference.methods import methods_page

ROOT = Path(__file__).parents[2]
PAGES: dict[str, Callable[[], str]] = {
    "docs/configuration.md": configuration_page,
    "docs/methods.md": methods_page,
    "docs/decisions/README.md": decisions_page,
}


def stale_pages(root: Path = ROOT) -> list[str]:
    """The pages whose file is absent or says something else than the code."""
    return [
        name
        for name, page in PAGES.items()
        if not (file := root / name).is_file() or file.read_text(encoding="utf-8") != page()
    ]


def main(arguments: list[str]) -> int:
    """Writes the pages; with `--check` only tells which ones are stale."""
    if arguments not in ([], ["--check"]):
        print("usage: scripts/docs [--check]", file=sys.stderr)
        return 2
    stale = stale_pages()
    if arguments:
        for name in stale:
            print(f"{name} is stale: run scripts/docs", file=sys.stderr)
        return int(bool(stale))
    for name in stale:
        (ROOT / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
