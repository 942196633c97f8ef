"""Search settings by an optimiser, within a budget of time; simplify what it found, and try it on the other half."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from s2fast.errors import ConfigError, option
from s2fast.tuning.score import difference
from s2fast.tuning.space import Range, Settings, rounded
from s2fast.tuning.trials import TimeUpError, Trial, Trials

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Report = Callable[[str], object]

_MOST_TRIALS = 500
"""Trials after which a search ends in any case."""

_REPEATED = 20
"""Proposals in a row that were tried before, after which a search ends."""

_FEWEST_PAIRS = 8
"""Pairs below which intervals over resampled pairs are too narrow to be believed."""

_MARGIN = 1.3
"""A trial is begun only if the time left is this much more than the longest before it took."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What one setting does, the others being as they were when it was set back alone."""

    value: Any
    """Its value."""
    default: Any
    """Its value in the configuration that the search began with."""
    gain: tuple[float, float, float] | None = None
    """Score with it less that without it, and the 95 % interval; None: the time did not suffice to measure it."""
    cpu: float | None = None
    """Processor time with it, as a multiple of that without it."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """The outcome of a search."""

    settings: Settings
    """The settings to use; empty: the defaults."""
    why: str
    """Why these, in one sentence."""
    effects: Mapping[str, Effect] = field(default_factory=dict)
    """What each chosen setting does, on the half on which they were chosen."""
    dropped: Mapping[str, Effect] = field(default_factory=dict)
    """Settings of the best trial that gained nothing, and have been set back."""
    choose: tuple[Trial, Trial] | None = None
    """The defaults and the best settings, on the half on which they were chosen."""
    report: tuple[Trial, Trial] | None = None
    """The defaults and the best settings, on the other half; None: the time did not suffice."""


def load_optimiser() -> None:
    """Raise ConfigError if the optimiser is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("s2fast tune needs Optuna: pip install 's2fast[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def search(
    trials: Trials, space: Mapping[str, Range | tuple[Any, ...]], defaults: Settings, pairs: int, report: Report,
    *, uncopied: bool = False,
) -> Tuned:  # fmt: skip
    """Search, simplify what was found, and try the result on the other half.

    Three fifths of the time are for the search; all that the other half does not need, while nothing is better. Where
    the other half has too few pairs to tell settings apart, nothing is searched unless the defaults verify something
    false.

    Parameters
    ----------
    trials
        What is done already, and how to run more; their rows are proposed again in the same order.
    space
        The settings and their values.
    defaults
        The values of these settings where nothing is set.
    pairs
        Pairs of scenes on the other half.
    report
        Receives a line per trial.
    uncopied
        Scenes are left that a larger `few` would add.

    Raises
    ------
    ConfigError
        The time does not suffice for the defaults.
    """
    try:
        base = trials.get({}, "choose", trials.left_s)
    except TimeUpError as error:
        raise ConfigError(
            f"{trials.budget_s / 60:g} minutes do not suffice to make the copies and to try the defaults: give more"
        ) from error
    report(f"defaults: {base.told()}")
    if pairs < _FEWEST_PAIRS and not base.flaw:
        with suppress(TimeUpError):
            other = trials.get({}, "report", trials.left_s)
            report(f"the other half, defaults: {other.told()}")
            if not other.flaw:
                return Tuned({}, _too_few(pairs, uncopied), choose=(base, base), report=(other, other))

    def reserve_s() -> float:
        # Both runs on the other half come first in the accounts: without them there is no result.
        best = max(trials.known("choose"), key=lambda trial: trial.score)
        return _MARGIN * (float(base.row["took_s"]) + float(best.row["took_s"]))

    def keep_s() -> float:
        better = any(trial.score > base.score for trial in trials.known("choose"))
        return max(0.4 * trials.budget_s if better else 0.0, reserve_s())

    number = _propose(trials, space, defaults, keep_s, report)
    safe = [trial for trial in trials.known("choose") if not trial.flaw]
    best = max(safe, key=lambda trial: trial.score, default=None)
    if best is None:
        which = "the defaults" if number == 1 else f"every one of {number} settings, the defaults included,"
        return Tuned({}, f"{which} failed or verified something false", choose=(base, base))
    if number == 1:
        return Tuned({}, "the defaults: the time sufficed for no other setting, give more minutes", choose=(base, base))
    settings, effects, dropped = _simplified(trials, best, defaults, reserve_s(), report)
    best = trials.done(settings, "choose") or best
    return _tried(trials, settings, effects, dropped, (base, best), report)


def _propose(
    trials: Trials,
    space: Mapping[str, Range | tuple[Any, ...]],
    defaults: Settings,
    keep_s: Callable[[], float],
    report: Report,
) -> int:
    """Try settings while there is time; return how many were tried."""
    import optuna

    shapes: dict[str, BaseDistribution] = {
        key: optuna.distributions.FloatDistribution(values.low, values.high, log=values.log)
        if isinstance(values, Range)
        else optuna.distributions.CategoricalDistribution(values)
        for key, values in space.items()
    }
    repeated = 0
    while trials.left_s - keep_s() > _MARGIN * trials.longest_s and repeated < _REPEATED:
        known = trials.known("choose")
        if len(known) >= _MOST_TRIALS:
            break
        # A new study per trial, of all that is known: what is proposed next depends on the file alone.
        sampler = optuna.samplers.TPESampler(seed=len(known) + 1000 * repeated, n_startup_trials=8, multivariate=True)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for trial in known:
            values = {**defaults, **trial.settings}
            study.add_trial(optuna.trial.create_trial(params=values, distributions=shapes, value=trial.score))
        asked = study.ask(shapes).params
        settings = {key: rounded(space[key], value) for key, value in asked.items()}
        settings = {key: value for key, value in settings.items() if value != defaults[key]}
        if trials.done(settings, "choose"):
            repeated += 1
            continue
        repeated = 0
        try:
            trial = trials.get(settings, "choose", trials.left_s - keep_s())
        except TimeUpError as error:
            report(f"not finished ({error}): {text(settings)}")
            break
        report(f"{len(known) + 1}, {trial.told()}: {text(settings)}")
    return len(trials.known("choose"))


def _simplified(
    trials: Trials, best: Trial, defaults: Settings, reserve_s: float, report: Report
) -> tuple[Settings, dict[str, Effect], dict[str, Effect]]:
    """Set back each setting that gains nothing, as long as there is time."""
    settings, effects, dropped = dict(best.settings), {}, {}
    for key in list(settings):
        value = settings[key]
        effect = Effect(value, defaults[key])
        if len(settings) == 1:
            without: Trial | None = trials.done({}, "choose")
        else:
            rest = {name: other for name, other in settings.items() if name != key}
            without = trials.done(rest, "choose")
            if without is None and trials.left_s - reserve_s > _MARGIN * trials.longest_s:
                with suppress(TimeUpError):
                    without = trials.get(rest, "choose", trials.left_s - reserve_s)
                    report(f"without {text({key: value})}: {without.told()}")
        if without is not None:
            now = trials.done(settings, "choose")
            effect = _effect(effect, now, without)
            if not without.flaw and effect.gain is not None and effect.gain[0] <= 0:
                del settings[key]
                dropped[key] = effect
                continue
        effects[key] = effect
    return settings, effects, dropped


def _effect(effect: Effect, now: Trial | None, without: Trial) -> Effect:
    if now is None or without.row["reason"]:
        return effect
    cpu = round(now.cpu_s / without.cpu_s, 2) if now.cpu_s and without.cpu_s else None
    return Effect(effect.value, effect.default, difference(now.outcome, without.outcome), cpu)


def _tried(
    trials: Trials,
    settings: Settings,
    effects: Mapping[str, Effect],
    dropped: Mapping[str, Effect],
    choose: tuple[Trial, Trial],
    report: Report,
) -> Tuned:
    """Decide by the other half."""
    if not settings:
        return Tuned({}, "the defaults are as good: nothing that was tried is better", {}, dropped, choose)
    held = []
    for name, tried in (("defaults", {}), ("chosen settings", settings)):
        try:
            held.append(trials.get(tried, "report", trials.left_s))
        except TimeUpError:
            why = "the defaults: the time did not suffice to try a choice on the other half, give more minutes"
            return Tuned({}, why, effects, dropped, choose)
        report(f"the other half, {name}: {held[-1].told()}")
    base, tuned = held
    if tuned.flaw:
        return Tuned({}, f"the defaults: on the other half the chosen settings {_failed(tuned)}", effects, dropped,
                     choose, (base, tuned))  # fmt: skip
    for half, defaults in (("the half to choose on", choose[0]), ("the other half", base)):
        if defaults.flaw:
            why = f"on {half} the defaults {_failed(defaults)}, and these settings nothing false"
            return Tuned(settings, why, effects, dropped, choose, (base, tuned))
    gain, low, high = difference(tuned.outcome, base.outcome)
    told = f"{gain:+.2f} points ({low:+.2f} to {high:+.2f})"
    if low > 0:
        why = f"better than the defaults on the other half: {told}"
        return Tuned(settings, why, effects, dropped, choose, (base, tuned))
    why = f"the defaults are as good: on the other half the chosen settings gain {told}"
    return Tuned({}, why, effects, dropped, choose, (base, tuned))


def _too_few(pairs: int, uncopied: bool) -> str:
    are = "1 pair on the other half is" if pairs == 1 else f"{pairs} pairs on the other half are"
    more = "add scenes of the same ground" + (f" or copy more of them ({option('few')})" if uncopied else "")
    return f"the defaults: {are} too few to tell settings apart, {_FEWEST_PAIRS} suffice: {more}"


def _failed(trial: Trial) -> str:
    return f"failed: {trial.row['reason']}" if trial.row["reason"] else trial.flaw


def text(settings: Settings) -> str:
    """Return settings in one line."""
    words: Sequence[str] = [f"{key.rpartition('.')[2]} {value}" for key, value in settings.items()]
    return ", ".join(words) or "defaults"
