"""The plugin: adds the processing provider, and removes it."""

from __future__ import annotations

from qgis.core import QgsApplication

from s2fast_qgis.provider import Provider


class Plugin:
    """Called by QGIS, and by qgis_process, when the plugin is loaded and unloaded."""

    def __init__(self) -> None:
        self._provider: Provider | None = None

    def initProcessing(self) -> None:  # noqa: N802  named by QGIS
        """Add the provider."""
        self._provider = Provider()
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:  # noqa: N802  named by QGIS
        """Add the provider to the toolbox."""
        self.initProcessing()

    def unload(self) -> None:
        """Remove the provider."""
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None
