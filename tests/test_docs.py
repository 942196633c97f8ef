"""The documentation's text: its links lead somewhere, every page is in the site, and the README stays short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "kernels").rglob("README.md")])


def links(text: str) -> list[str]:
    """Return the targets of a page's relative links, outside code."""
    plain = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\]\((?!\w+:)([^)\s]+)\)", plain)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site name them."""
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page.read_text("utf-8")):
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        assert not anchor or anchor in anchors(path), link


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:")[2]
    listed = set(re.findall(r"- (\w+\.md)", navigation))
    pages = {page.name for page in PAGES if page.parent in (ROOT, ROOT / "docs")}
    assert listed == pages - {"README.md"} | {"index.md"}


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size < 10_000


def test_a_link_that_leads_nowhere_is_seen(tmp_path: Path) -> None:
    assert links("[a](b.md) `[c](d.md)` [e](https://f.g) ![h](i.png#j)") == ["b.md", "i.png#j"]
    page = tmp_path / "page.md"
    page.write_text("# One (two)\n```\n# three\n```\n## `four`: five\n")
    assert anchors(page) == {"one-two", "four-five"}
