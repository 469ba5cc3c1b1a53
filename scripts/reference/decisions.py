"""The list of decisions: each record's number and title, as its first line says."""

from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"
_HEAD = """# Decisions

Short records of what was decided, why, and what was turned down. A later record may replace an earlier one; it says so.
This list is written by `scripts/docs`.

"""


def decisions_page() -> str:
    """The list as Markdown, in the order in which they were taken."""
    return _HEAD + "".join(f"- [{_title(record)}]({record.name})\n" for record in sorted(FOLDER.glob("[0-9]*.md")))


def _title(record: Path) -> str:
    heading, _, _ = record.read_text(encoding="utf-8").partition("\n")
    return heading.removeprefix("# ")
