from collections.abc import Callable
from pathlib import Path

import pytest

from s2fast.config import Config, dotted_keys, load_config
from s2fast.errors import ConfigError
from s2fast.stages.keys import pair_selection
from s2fast.sweeps.grid import load_sweep
from s2fast.tools.configuration_reference import descriptions

CONFIGS = Path(__file__).parents[1] / "configs"


RUNS = [path for path in sorted(CONFIGS.glob("*.toml")) if not path.name.startswith("sweep_")]
"""Sweeps are read by tests/benchmarks/test_sweep.py."""


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_every_shipped_file_loads(path: Path) -> None:
    assert isinstance(load_config(path), Config)


def test_default_file_states_the_defaults() -> None:
    assert load_config(CONFIGS / "default.toml") == Config()


def test_notebook_file_is_the_notebooks_recipe() -> None:
    config = load_config(CONFIGS / "notebook.toml")
    assert (config.regions.mode, config.regions.crs, config.regions.holes) == ("zero", "EPSG:4236", False)
    assert (config.ingest.reduction, config.features.backend, config.features.threshold) == (2, "opencv", 0.001)
    assert (config.features.upright, config.features.max_per_scene, config.features.upsample) == (False, 0, 1)
    assert (config.ingest.contrast, config.ingest.clouds) == ("none", False)
    assert (config.matching.mode, config.matching.max_distance_bits) == ("exhaustive", 512)
    assert (config.matching.ratio, config.matching.mutual, config.output.keep_matches) == (0.8, False, "good")


def test_overrides_win_and_are_toml_values() -> None:
    config = load_config(
        CONFIGS / "notebook.toml",
        ["ingest.reduction=1", "regions.crs=EPSG:4326", "features.upright=true", "regions.where=tile = '36UYA'"],
    )
    assert config.ingest.reduction == 1
    assert config.regions.crs == "EPSG:4326"
    assert config.features.upright is True
    assert config.regions.where == "tile = '36UYA'"
    assert load_config(overrides={"matching.ratio": 0.9}).matching.ratio == 0.9
    assert load_config(overrides=["ingest.stretch=[0, 3558]"]).ingest.stretch == (0, 3558)
    assert load_config(overrides=["ingest.stretch=[-0.1, 0.5]"]).ingest.stretch == (-0.1, 0.5)
    assert load_config(overrides=["ingest.stretch=auto"]).ingest.stretch == "auto"


def test_bare_epsg_code_is_a_crs() -> None:
    assert load_config(overrides=["regions.crs=4326"]).regions.crs == "EPSG:4326"


def test_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "windows.toml"
    path.write_text("[matching]\nratio = 0.7\n", "utf-8-sig")
    assert load_config(path).matching.ratio == 0.7


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("features.treshold=1", "unknown key 'features.treshold'; did you mean 'features.threshold'?"),
        ("matchng.ratio=0.7", "unknown key 'matchng'; did you mean 'matching'?"),
        ("ratio=0.7", "did you mean 'matching.ratio'?"),
        ("matching=0.7", "matching = 0.7: matching is a section: set its keys, matching.KEY"),
        ("ingest.reduction=3", "ingest.reduction = 3: input should be 1, 2 or 4"),
        ("matching.ratio=high", "matching.ratio = 'high'"),
        ("matching.ratio=1.5", "matching.ratio = 1.5: input should be less than or equal to 1"),
        ("regions.mode=inside", "'keep', 'zero' or 'none'"),
        ("matching.ratio", "has no value"),
        ("ingest.stretch=full", 'ingest.stretch = \'full\': write "none", "auto" or [low, high]'),
        ("compute.device=gpu", 'compute.device = \'gpu\': write "auto", "cpu", "cuda" or "cuda:1"'),
        ("ingest.stretch=[5]", "ingest.stretch = [5]: write"),
        ("ingest.stretch=[5, 5]", "low < high"),
        ("matching.pairs=file", 'matching.pairs = "file" and matching.pairs_file go together'),
        ("verification.prior=none", 'verification.prior = "none" needs matching.mode = "exhaustive"'),
        ("features.upsample=3", "features.upsample = 3: input should be 1, 2 or 'auto'"),
        ("ingest.stretch=[0, inf]", "low < high"),
    ],
)
def test_wrong_override_names_the_key_and_the_nearest(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=[override])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[matching]\nratoi = 0.8\n", "did you mean 'matching.ratio'?"),
        ("[matching\n", "is not valid TOML"),
        ("matching = 3\n", "matching = 3: matching is a section: set its keys, matching.KEY"),
    ],
)
def test_wrong_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load_config(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("load", [load_config, load_sweep], ids=["settings", "sweep"])
def test_a_device_without_end_is_one_line(load: Callable[[Path], object]) -> None:
    with pytest.raises(ConfigError, match="/dev/zero is not valid TOML: it has more than 64 MiB"):
        load(Path("/dev/zero"))


def test_a_list_of_pairs_without_end_is_one_line() -> None:
    with pytest.raises(ConfigError, match="cannot read /dev/zero: it has more than 64 MiB"):
        pair_selection(Config().matching.model_copy(update={"pairs": "file", "pairs_file": "/dev/zero"}))


@pytest.mark.slow
def test_every_key_has_a_description() -> None:
    for dotted in dotted_keys():
        section, key = dotted.split(".")
        assert descriptions(Config.model_fields[section].annotation)[key], dotted


@pytest.mark.parametrize("value", ["-1", "far", "nan"])
def test_a_wrong_radius_is_a_one_line_error(value: str) -> None:
    with pytest.raises(ConfigError, match=r"matching\.radius_m = .*write \"auto\" or a number of metres"):
        load_config(overrides=[f"matching.radius_m={value}"])


def test_radius_auto_needs_windows() -> None:
    assert load_config(overrides={"matching.radius_m": "auto"}).matching.radius_m == "auto"
    with pytest.raises(ConfigError, match="windowed"):
        load_config(overrides={"matching.radius_m": "auto", "matching.mode": "exhaustive"})


@pytest.mark.parametrize("value", ["all", "0", "255", "-1", "true", "nan"])
def test_a_wrong_device_budget_is_a_one_line_error(value: str) -> None:
    with pytest.raises(ConfigError, match=r"compute\.device_budget_mb = .*\"auto\" or a number of MiB, 256 or more$"):
        load_config(overrides=[f"compute.device_budget_mb={value}"])
    for right in ("auto", 4096):
        assert load_config(overrides=[f"compute.device_budget_mb={right}"]).compute.device_budget_mb == right


def test_trusted_places_are_kept_without_secrets() -> None:
    for override in ('ingest.trust=["https://h/?sig=x"]', "ingest.trust=https://me:x@h/"):
        assert load_config(overrides=[override]).ingest.trust == ("https://h/",)


def test_masks_at_addresses_are_refused_without_secrets() -> None:
    with pytest.raises(ConfigError, match=r"'https://h/m\.tif': masks are read from files on this machine"):
        load_config(overrides=["ingest.mask=file", "ingest.mask_file=https://h/m.tif?sig=x"])
