"""Build the site from files that also read well in the repository: a hook of mkdocs.

README.md is the first page; CHANGELOG.md, CONTRIBUTING.md, SECURITY.md and the READMEs of the operations are pages too.
Links between files of the repository lead to the page of a file that has one, else to the repository's address, else
they become plain text. A link to a file that does not exist is a warning, which fails ``make docs``.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

_log = logging.getLogger("mkdocs.s2fast")
_LINK = re.compile(r"(?<!`)(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)


def sources() -> dict[Path, str]:
    """Map the files of the repository that are pages to their names in the site, those in docs/ included."""
    pages = {ROOT / "README.md": "index.md"}
    pages |= {ROOT / f"{name}.md": f"{name}.md" for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY")}
    operations = sorted((ROOT / "kernels" / "s2fast_kernels").glob("*/README.md"))
    pages |= {path: f"kernels/{path.parent.name}.md" for path in operations}
    return pages | {path: path.relative_to(DOCS).as_posix() for path in sorted(DOCS.rglob("*.md"))}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages whose sources lie outside docs/, and the example notebooks as files to download."""
    for path, name in sources().items():
        if not path.is_relative_to(DOCS):
            page = File.generated(config, name, content=path.read_text("utf-8"))
            if name.startswith("kernels/"):
                # They are reached from the page of kernels, not from the navigation.
                page.inclusion = page.inclusion.NOT_IN_NAV
            files.append(page)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite the links of a page."""
    del files
    by_name = {name: path for path, name in sources().items()}
    return linked(markdown, by_name[page.file.src_uri], config.repo_url or "")


def linked(markdown: str, source: Path, repository: str) -> str:
    """Return a page's Markdown with links that work in the site; text in fences is left alone."""
    pages = sources()
    here = Path(pages[source]).parent

    def replaced(match: re.Match[str]) -> str:
        picture, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        path = Path(os.path.normpath(source.parent / target))
        name = pages.get(path)
        if name is None and path.is_relative_to(DOCS) and path.is_file():
            name = path.relative_to(DOCS).as_posix()
        if name is not None:
            return f"{picture}[{text}]({os.path.relpath(name, here)}{anchor})"
        if not path.exists():
            _log.warning("%s: a link leads to %s, which does not exist", source.relative_to(ROOT), target)
        if repository and path.is_relative_to(ROOT):
            return f"{picture}[{text}]({repository}/blob/main/{path.relative_to(ROOT).as_posix()}{anchor})"
        return text

    return "".join(part if part.startswith("```") else _LINK.sub(replaced, part) for part in _FENCE.split(markdown))
