"""The algorithms of the toolbox; each calls the command of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from processing.core.ProcessingConfig import ProcessingConfig
from qgis.core import (
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputHtml,
    QgsProcessingOutputMultipleLayers,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorLayer,
    QgsRasterLayer,
    QgsVectorLayer,
)

from s2fast_qgis.command import CommandError, found, is_serious, lines, percent

COMMAND = "S2FAST_COMMAND"
"""Setting that names the command."""

_LAYERS = ("regions", "clear_ground", "scenes", "pairs", "displacements", "misregistration")
"""Layers of a run, the lowest first."""

_PROFILES = ["default", "fast", "notebook"]
_FORMS = ["vrt", "cog", "resampled"]
_MODELS = ["shift", "auto", "similarity", "affine", "grid"]

_FOLDER = QgsProcessingParameterFile.Folder


class Algorithm(QgsProcessingAlgorithm):
    """What all algorithms share."""

    NAME = TITLE = HELP = ""

    def createInstance(self) -> Algorithm:  # noqa: N802  named by QGIS
        """Return a new one."""
        return type(self)()

    def name(self) -> str:
        """Return the last part of the id."""
        return self.NAME

    def displayName(self) -> str:  # noqa: N802  named by QGIS
        """Return the name in the toolbox."""
        return self.TITLE

    def shortHelpString(self) -> str:  # noqa: N802  named by QGIS
        """Return what stands beside the dialog."""
        return self.HELP

    def _call(self, arguments: Sequence[str], feedback: QgsProcessingFeedback) -> None:
        """Call the command, and pass on what it prints."""
        try:
            command = [found(ProcessingConfig.getSetting(COMMAND) or "s2fast"), *map(str, arguments)]
            feedback.pushCommandInfo(" ".join(command))
            for line in lines(command, feedback.isCanceled):
                done = percent(line)
                if done is not None:
                    feedback.setProgress(done)
                if is_serious(line):
                    feedback.pushWarning(line)
                else:
                    feedback.pushInfo(line)
        except (CommandError, OSError) as error:
            raise QgsProcessingException(str(error)) from error


def _added(layers: Sequence[QgsVectorLayer | QgsRasterLayer], context: QgsProcessingContext) -> list[str]:
    """Add the valid layers to the project when the algorithm has ended; return their ids."""
    found_layers = [layer for layer in layers if layer.isValid()]
    for layer in found_layers:
        context.temporaryLayerStore().addMapLayer(layer)
        context.addLayerToLoadOnCompletion(
            layer.id(), QgsProcessingContext.LayerDetails(layer.name(), context.project(), layer.name())
        )
    return [layer.id() for layer in found_layers]


def _run_layers(out: str, context: QgsProcessingContext) -> list[str]:
    """Add the layers of a run, with their styles."""
    file = Path(out) / "run.gpkg"
    if not file.is_file():
        raise QgsProcessingException(f"{out} holds no finished run: run.gpkg is missing")
    return _added([QgsVectorLayer(f"{file}|layername={name}", name, "ogr") for name in _LAYERS], context)


class RunAlgorithm(Algorithm):
    """``s2fast run``."""

    NAME = "run"
    TITLE = "Match all pairs of scenes"
    HELP = (
        "Matches every pair of a folder's scenes, says which matches are real, and by how many metres the scenes are "
        "misregistered. A second call with the same output folder computes only what is new."
    )

    def initAlgorithm(self, config: Any = None) -> None:  # noqa: N802  named by QGIS
        """Declare inputs and outputs."""
        del config
        self.addParameter(QgsProcessingParameterFile("SCENES", "Folder of scenes", _FOLDER))
        self.addParameter(
            QgsProcessingParameterVectorLayer(
                "REGIONS", "Polygons of interest", [QgsProcessing.TypeVectorPolygon], optional=True
            )
        )
        self.addParameter(QgsProcessingParameterFile("REFERENCE", "Image that is held fixed", optional=True))
        self.addParameter(QgsProcessingParameterEnum("PROFILE", "Settings", _PROFILES, defaultValue=0))
        self.addParameter(
            QgsProcessingParameterString(
                "SET", "Other settings, one per line: section.key=value", multiLine=True, optional=True
            )
        )
        self.addParameter(QgsProcessingParameterBoolean("LOAD", "Add the layers to the project", defaultValue=True))
        self.addParameter(QgsProcessingParameterFolderDestination("OUT", "Run folder"))
        self.addOutput(QgsProcessingOutputHtml("REPORT", "Report"))
        self.addOutput(QgsProcessingOutputMultipleLayers("LAYERS", "Layers"))

    def processAlgorithm(  # noqa: N802  named by QGIS
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run it."""
        out = self.parameterAsString(parameters, "OUT", context)
        arguments = ["run", "--scenes", self.parameterAsFile(parameters, "SCENES", context), "--out", out]
        arguments += ["--profile", _PROFILES[self.parameterAsEnum(parameters, "PROFILE", context)]]
        if parameters.get("REGIONS"):
            # Of a layer that is filtered or in memory, QGIS writes a copy.
            path, layer = self.parameterAsCompatibleSourceLayerPathAndLayerName(
                parameters, "REGIONS", context, ["gpkg", "geojson", "shp"], "gpkg", feedback
            )
            arguments += ["--regions", path, *(["--set", f'regions.layer="{layer}"'] if layer else [])]
        if reference := self.parameterAsFile(parameters, "REFERENCE", context):
            arguments += ["--reference", reference]
        for setting in self.parameterAsString(parameters, "SET", context).splitlines():
            if setting.strip():
                arguments += ["--set", setting.strip()]
        self._call(arguments, feedback)
        layers = _run_layers(out, context) if self.parameterAsBool(parameters, "LOAD", context) else []
        return {"OUT": out, "REPORT": str(Path(out) / "report.html"), "LAYERS": layers}


class LayersAlgorithm(Algorithm):
    """The layers of a run that exists."""

    NAME = "layers"
    TITLE = "Add the layers of a run"
    HELP = "Adds footprints, clear ground, regions, pairs, displacements and misregistration of a run, with styles."

    def initAlgorithm(self, config: Any = None) -> None:  # noqa: N802  named by QGIS
        """Declare inputs and outputs."""
        del config
        self.addParameter(QgsProcessingParameterFile("OUT", "Run folder", _FOLDER))
        self.addOutput(QgsProcessingOutputMultipleLayers("LAYERS", "Layers"))

    def processAlgorithm(  # noqa: N802  named by QGIS
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run it."""
        del feedback
        return {"LAYERS": _run_layers(self.parameterAsFile(parameters, "OUT", context), context)}


class AlignAlgorithm(Algorithm):
    """``s2fast align``."""

    NAME = "align"
    TITLE = "Write aligned scenes"
    HELP = (
        "Writes the scenes of a run with their offsets removed. alignment.html says what was done with each, and why "
        "scenes were left out."
    )

    def initAlgorithm(self, config: Any = None) -> None:  # noqa: N802  named by QGIS
        """Declare inputs and outputs."""
        del config
        self.addParameter(QgsProcessingParameterFile("OUT", "Run folder", _FOLDER))
        self.addParameter(QgsProcessingParameterEnum("AS", "Written as", _FORMS, defaultValue=0))
        self.addParameter(QgsProcessingParameterEnum("MODEL", "Displacements", _MODELS, defaultValue=0))
        self.addParameter(
            QgsProcessingParameterString("BANDS", "Bands: B02,B03 or all; empty: the one matched", optional=True)
        )
        self.addParameter(
            QgsProcessingParameterNumber(
                "MAX_ERROR", "Largest error of an offset [m]; empty: 0.1 pixels", QgsProcessingParameterNumber.Double,
                optional=True, minValue=0,
            )
        )  # fmt: skip
        self.addParameter(QgsProcessingParameterBoolean("CHECK", "Compare the written files", defaultValue=True))
        self.addParameter(QgsProcessingParameterBoolean("LOAD", "Add the scenes to the project", defaultValue=True))
        self.addParameter(QgsProcessingParameterFolderDestination("TO", "Folder for the aligned scenes"))
        self.addOutput(QgsProcessingOutputHtml("REPORT", "What was done"))
        self.addOutput(QgsProcessingOutputMultipleLayers("LAYERS", "Layers"))

    def processAlgorithm(  # noqa: N802  named by QGIS
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run it."""
        to = self.parameterAsString(parameters, "TO", context)
        form = _FORMS[self.parameterAsEnum(parameters, "AS", context)]
        arguments = ["align", self.parameterAsFile(parameters, "OUT", context), "--to", to, "--as", form]
        arguments += ["--model", _MODELS[self.parameterAsEnum(parameters, "MODEL", context)]]
        if bands := self.parameterAsString(parameters, "BANDS", context):
            arguments += ["--bands", bands]
        if parameters.get("MAX_ERROR") is not None:
            arguments += ["--max-error", str(self.parameterAsDouble(parameters, "MAX_ERROR", context))]
        if self.parameterAsBool(parameters, "CHECK", context):
            arguments += ["--check"]
        self._call(arguments, feedback)
        layers = []
        if self.parameterAsBool(parameters, "LOAD", context):
            files = sorted(Path(to).glob("*.vrt" if form == "vrt" else "*.tif"))
            images = [file for file in files if not file.stem.endswith("_displacement")]
            layers = _added([QgsRasterLayer(str(file), file.stem) for file in images], context)
        return {"TO": to, "REPORT": str(Path(to) / "alignment.html"), "LAYERS": layers}


class IndexAlgorithm(Algorithm):
    """``s2fast index``."""

    NAME = "index"
    TITLE = "Make an index of a run"
    HELP = "Makes the index in which 'Find a picture' searches. The run needs the setting features.upright=false."

    def initAlgorithm(self, config: Any = None) -> None:  # noqa: N802  named by QGIS
        """Declare inputs and outputs."""
        del config
        self.addParameter(QgsProcessingParameterFile("OUT", "Run folder", _FOLDER))
        self.addParameter(QgsProcessingParameterFolderDestination("INDEX", "Folder of the index"))

    def processAlgorithm(  # noqa: N802  named by QGIS
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run it."""
        index = self.parameterAsString(parameters, "INDEX", context)
        self._call(["index", self.parameterAsFile(parameters, "OUT", context), "--to", index], feedback)
        return {"INDEX": index}


class FindAlgorithm(Algorithm):
    """``s2fast find``."""

    NAME = "find"
    TITLE = "Find a picture"
    HELP = (
        "Finds where in an archive a picture without georeferencing lies: a crop, a screenshot, a scan. Writes a "
        "georeferenced copy, if it is found."
    )

    def initAlgorithm(self, config: Any = None) -> None:  # noqa: N802  named by QGIS
        """Declare inputs and outputs."""
        del config
        self.addParameter(QgsProcessingParameterFile("INDEX", "Folder of the index", _FOLDER))
        self.addParameter(QgsProcessingParameterFile("PICTURE", "Picture"))
        self.addParameter(QgsProcessingParameterBoolean("LOAD", "Add the copy to the project", defaultValue=True))
        self.addParameter(QgsProcessingParameterFileDestination("LOCATED", "Georeferenced copy", "GeoTIFF (*.tif)"))
        self.addOutput(QgsProcessingOutputMultipleLayers("LAYERS", "Layers"))

    def processAlgorithm(  # noqa: N802  named by QGIS
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run it."""
        located = self.parameterAsFileOutput(parameters, "LOCATED", context)
        index, picture = (self.parameterAsFile(parameters, name, context) for name in ("INDEX", "PICTURE"))
        self._call(["find", index, picture, "--output", located], feedback)
        layers = []
        if Path(located).is_file() and self.parameterAsBool(parameters, "LOAD", context):
            layers = _added([QgsRasterLayer(located, Path(located).stem)], context)
        return {"LOCATED": located, "LAYERS": layers}


ALGORITHMS = (RunAlgorithm, LayersAlgorithm, AlignAlgorithm, IndexAlgorithm, FindAlgorithm)
"""All algorithms, in the order of the toolbox."""
