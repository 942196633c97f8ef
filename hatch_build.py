"""Complete the package's metadata with what only a published repository knows: its address.

The release workflow sets ``GITHUB_SERVER_URL`` and ``GITHUB_REPOSITORY``. Without them, a package that is built from a
checkout has no links, and its description keeps the README's relative ones.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class RepositoryMetadata(MetadataHookInterface):
    """Set ``readme`` and ``urls``, which pyproject.toml declares as dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add both keys to the table ``[project]``."""
        text = (Path(self.root) / "README.md").read_text("utf-8")
        repository = os.environ.get("GITHUB_REPOSITORY")
        if repository:
            address = f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{repository}"
            text = with_absolute_links(text, address)
            metadata["urls"] = {
                "Source": address,
                "Documentation": f"{address}/tree/main/docs",
                "Changelog": f"{address}/blob/main/CHANGELOG.md",
                "Issues": f"{address}/issues",
                "Security": f"{address}/security/policy",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def with_absolute_links(text: str, address: str) -> str:
    """Return Markdown whose relative links lead to files of the repository, and its pictures to their bytes."""
    text = re.sub(r"!\[([^\]]*)\]\((?!https?:|#)([^)]+)\)", rf"![\1]({address}/raw/main/\2)", text)
    return re.sub(r"(?<!!)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)", rf"[\1]({address}/blob/main/\2)", text)
