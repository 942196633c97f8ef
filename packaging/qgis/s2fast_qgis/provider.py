"""The processing provider, and the setting that names the command."""

from __future__ import annotations

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import QgsProcessingProvider

from s2fast_qgis.algorithms import ALGORITHMS, COMMAND


class Provider(QgsProcessingProvider):
    """All algorithms under one name in the toolbox."""

    def id(self) -> str:
        """Return the first part of the algorithms' ids, ``s2fast:run``."""
        return "s2fast"

    def name(self) -> str:
        """Return the name in the toolbox."""
        return "s2fast"

    def load(self) -> bool:
        """Add the settings and the algorithms."""
        ProcessingConfig.settingIcons["s2fast"] = self.icon()
        ProcessingConfig.addSetting(Setting("s2fast", COMMAND, "Command, or path of it", "s2fast"))
        ProcessingConfig.readSettings()
        self.refreshAlgorithms()
        return True

    def unload(self) -> None:
        """Remove the settings."""
        ProcessingConfig.removeSetting(COMMAND)

    def loadAlgorithms(self) -> None:  # noqa: N802  named by QGIS
        """Add the algorithms."""
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())
