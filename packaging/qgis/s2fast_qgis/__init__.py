"""A QGIS plugin: a processing provider that calls the command s2fast."""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:  # noqa: N802  named by QGIS
    """Return the plugin."""
    from s2fast_qgis.plugin import Plugin

    del iface
    return Plugin()
