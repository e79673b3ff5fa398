"""What a study found, in sentences: each is computed from the results, none is written beforehand."""

from __future__ import annotations

import numpy as np

from calibration.assessment import CUT_OFF
from calibration.figures import signed
from calibration.statistics import SCATTER
from calibration.study import SECTIONS, Findings, Threshold, changes_at_end, levers, own_parameters, place_of
from calibration.words import counted, listed
from sd_cluster.model import key

KNOWLEDGE = "shared knowledge base"


def about(value: float, figures: int = 3) -> str:
    """Write a number with the figures that matter.

    >>> about(152345.0), about(0.12345), about(7.0), about(8.54, 2), about(-1500.0)
    ('152,000', '0.123', '7', '8.5', '−1,500')
    """
    if not np.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    rounded = round(value, figures - 1 - int(np.floor(np.log10(abs(value)))))
    text = f"{rounded:,.0f}" if abs(rounded) >= 10 ** (figures - 1) else f"{rounded:.{figures}g}"
    return text.replace("-", "−")


def percent(value: float) -> str:
    """Write a change in per cent with its sign: `+12 %`."""
    return f"{signed(value)} %"


def place(findings: Findings) -> str:
    """Name of the region, as a title has it."""
    return place_of(findings.study)


def question(found: Findings) -> str:
    """What is asked, and of which figures."""
    series = found.fit.series
    count = sum(len(one.years) for one in series)
    first, last = min(one.years[0] for one in series), max(one.years[-1] for one in series)
    names = listed([f"{one.indicator} ({counted(len(one.years), 'year')})" for one in series])
    return (
        f"Can one set of parameters carry {place(found)} from its founding to today, and if so, what would help it "
        f"most? The record has {counted(count, 'figure')} between {first:.0f} and {last:.0f}: {names}. Years without a "
        f"figure stay gaps; nothing is filled in."
    )


def model(found: Findings) -> str:
    """Size and reach of the model."""
    its, study = found.model, found.study
    name = its.name.replace("_", " ")
    return (
        f"The model of {name} has {len(its.stocks)} stocks, {len(its.auxiliaries)} computed variables and "
        f"{len(own_parameters(its))} parameters, of which {len(levers(its))} are policy levers. Every equation "
        f"passes a check of its units. Here it runs from {study.start:.0f}, the fit uses figures up to "
        f"{study.last_year}, and the outlook ends in {study.end:.0f}."
    )


def fit(found: Findings) -> str:
    """How near the model comes, over all series."""
    its = found.fit
    typical = [100 * float(np.median(np.abs(one.residuals))) for one in its.series]
    order = np.argsort(typical)
    near, far = its.series[order[0]], its.series[order[-1]]
    rest = (
        f"; for {far.indicator}, the series met least well, half lie within {about(typical[order[-1]], 2)} %."
        if len(its.series) > 1
        else "."
    )
    scaled = [one for one in its.series if one.scale_fitted]
    text = (
        f"The search moved {counted(len(its.estimates), 'parameter')} from "
        f"{counted(len(its.starts), 'starting point')}. At the best {'one' if len(its.starts) > 1 else 'point'}, "
        f"half of the {near.indicator} figures lie within {about(typical[order[0]], 2)} % of the model{rest}"
    )
    if scaled:
        names = listed([one.indicator for one in scaled])
        verb = "is" if len(scaled) == 1 else "are"
        text += (
            f" Only the course of {names} {verb} compared, not the level: one factor brings model and data to a scale."
        )
    return text


def residuals(found: Findings) -> str:
    """The figure farthest off, and whether residuals hang together in time."""
    worst = max(found.fit.series, key=lambda one: float(np.max(np.abs(one.residuals))))
    at = int(np.argmax(np.abs(worst.residuals)))
    ratio = 100 * (worst.observed[at] / worst.predicted[at] - 1)
    side = "above" if ratio > 0 else "below"
    year, far = worst.years[at], about(abs(ratio), 2)
    text = f"The figure farthest off is {worst.indicator} of {year:.0f}, {far} % {side} the model."
    tied = [one for one in found.fit.series if one.in_waves]
    loose = [one for one in found.fit.series if not one.in_waves and not one.durbin_watson >= SCATTER]
    ratios = [one.durbin_watson for one in found.fit.series]
    if tied:
        names = listed([f"{one.indicator} ({one.durbin_watson:.2f})" for one in tied])
        text += (
            f" Residuals of {names} follow one another for years on end (Durbin–Watson well below 2): the data hold "
            "swings, of trade cycles or of counting, that the model does not have."
        )
    if loose:
        names = listed([f"{one.indicator} ({_ratio(one.durbin_watson)})" for one in loose])
        text += (
            f" Residuals of {names} may hang together in time (Durbin–Watson not up to {SCATTER:g}); too few or too "
            "faint to call it a swing."
        )
    if not tied and not loose:
        spread = " to ".join(dict.fromkeys(f"{one:.2f}" for one in (min(ratios), max(ratios))))
        text += f" Residuals change sign from figure to figure (Durbin–Watson {spread}): no trend is left."
    return text


def _ratio(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "not to be told"


def card(found: Findings) -> str:
    """Theil's shares, in words."""
    parts = []
    for one in found.fit.series:
        theil = one.theil
        systematic = theil.bias + theil.variation
        if np.isfinite(systematic):
            parts.append((one.indicator, 100 * systematic))
    if not parts:
        return ""
    fine = [name for name, share in parts if share < 20]
    poor = [f"{name} ({share:.0f} %)" for name, share in parts if share >= 20]
    text = ""
    if fine:
        text += f"For {listed(fine)}, bias and unequal variation make up less than a fifth of the squared error: "
        text += "what is missed is mostly scatter."
    if poor:
        text += (
            f"{' ' if text else ''}For {listed(poor)}, the systematic share (bias and unequal variation) is large: "
            "level or spread differ from the data."
        )
    return text


def stocks(found: Findings) -> str:
    """How the cluster grew to the last year of data, and how it goes on."""
    base, study = found.policies.base, found.study
    start, now, end = base.at(study.start), base.at(study.last_year), base.at(study.end)
    names = ("member firms", "talent pool", KNOWLEDGE)
    past = listed([f"{name} from {about(start[name])} to {about(now[name])}" for name in names])
    onward = listed([f"{name} {percent(100 * (end[name] / now[name] - 1))}" for name in names])
    level = end[KNOWLEDGE] / now[KNOWLEDGE] - 1
    close = (
        "the base has found its level"
        if abs(level) < 0.02
        else "the base still grows"
        if level > 0
        else "the base shrinks"
    )
    return (
        f"Between {study.start:.0f} and {study.last_year} the model takes {past}. Trust goes "
        f"from {start['trust']:.2f} to {now['trust']:.2f}. With levers as they are, from {study.last_year} to "
        f"{study.end:.0f} it gives {onward}: {close}."
    )


def channels(found: Findings) -> str:
    """Which channel carries most, at the start and at the end."""
    base, study = found.policies.base, found.study
    told = []
    leaders = []
    for year in (study.start, study.last_year):
        row = base.at(year)
        total = sum(row[name] for name in study.channels)
        shares = {name: 100 * row[name] / total for name in study.channels}
        leader = max(shares, key=lambda name: shares[name])
        leaders.append(leader)
        others = listed([f"{name} {shares[name]:.0f} %" for name in study.channels if name != leader])
        told.append(f"in {year:.0f} {leader} carries {shares[leader]:.0f} % of the exchange ({others})")
    same = "and stays the widest channel" if leaders[0] == leaders[1] else f"and {leaders[1]} takes the lead"
    first, second = told
    return f"{first[:1].upper()}{first[1:]}, {same}: {second}."


def policies_set_up(found: Findings) -> str:
    """What the policies change, and by how much."""
    study, policies = found.study, found.policies
    capped = [
        lever for steps in policies.levers.values() for lever, (low, high) in steps.items()
        if high - low < study.raise_by - 1e-9
    ]  # fmt: skip
    counts = listed([f"{len(policies.levers[name])} of {name[4:]} ({name[:3]})" for name in policies.levers])
    text = (
        f"From {policies.year:.0f} on, each policy raises all levers of one section of the paper by "
        f"{study.raise_by:g}: {counts}. Everything else stays as fitted, and before {policies.year:.0f} all runs "
        "are the same."
    )
    if capped:
        text += f" The scale ends at 1, so {listed(capped)} could rise by less."
    return text


def policies(found: Findings) -> str:
    """Which policy does most for what, and what it costs."""
    year = found.study.end
    changes = changes_at_end(found.policies, found.study.outcomes, year)
    best = {name: max(changes, key=lambda policy: changes[policy][name]) for name in found.study.outcomes}
    leader = best[KNOWLEDGE]
    also = [name for name in found.study.outcomes if name != KNOWLEDGE and best[name] == leader]
    text = (
        f"The shared knowledge base gains most from the policy of {leader[4:]} "
        f"({percent(changes[leader][KNOWLEDGE])} by {year:.0f})"
    )
    text += f", which also does most for {listed(also)}." if also else "."
    others = {name: policy for name, policy in best.items() if policy != leader}
    for policy in dict.fromkeys(others.values()):
        names = [f"{name} ({percent(changes[policy][name])})" for name in others if others[name] == policy]
        text += f" For {listed(names)} it is that of {policy[4:]}."
    harmed = {
        policy: [f"{name} ({percent(row[name])})" for name in row if row[name] < -1] for policy, row in changes.items()
    }
    told = [f"{policy[4:]} lower {listed(names)}" for policy, names in harmed.items() if names]
    if told:
        text += f" Not everything rises: measures of {'; those of '.join(told)}."
    return text


def lever_sentence(found: Findings) -> str:
    """Which single lever does most, which least, which harm."""
    year, effects = found.study.end, sorted(found.effects, key=lambda one: -one.changes[KNOWLEDGE])
    top = effects[:3]
    named = listed([f"{one.lever} ({percent(one.changes[KNOWLEDGE])})" for one in top])
    text = f"Raised one at a time, the levers that move the shared knowledge base most by {year:.0f} are {named}."
    idle = [one.lever for one in effects if abs(one.changes[KNOWLEDGE]) < 0.5]
    if idle:
        text += f" Less than half a per cent comes from {listed(idle)}."
    harmful = [f"{one.lever} ({percent(one.changes[KNOWLEDGE])})" for one in effects if one.changes[KNOWLEDGE] <= -0.5]
    if harmful:
        text += f" It falls with {listed(harmful)}."
    return text


def pair_set_up(found: Findings) -> str:
    """What the two clusters share and in what they differ."""
    names = list(found.study.pair)
    first, second = found.study.pair[names[0]], found.study.pair[names[1]]
    differ = [
        f"{lever} {first[lever]:g} against {second[lever]:g}" for lever in first if first[lever] != second.get(lever)
    ]
    return (
        "Here two clusters start from the same state and the same parameters of the shipped model, and differ in "
        f"{counted(len(differ), 'lever')} alone: {listed(differ)} (closed against open)."
    )


def pair(found: Findings) -> str:
    """How far the open cluster gets ahead, and when."""
    closed, opened = found.pair
    end = float(opened.times[-1])
    last = {name: opened.at(end)[name] / closed.at(end)[name] for name in (KNOWLEDGE, "member firms", "talent pool")}
    ahead = [f"{about(ratio, 2)} times the {name}" for name, ratio in last.items() if ratio > 1]
    behind = [f"{about(ratio, 2)} times the {name}" for name, ratio in last.items() if ratio <= 1]
    years = end - float(opened.times[0])
    text = f"After {years:.0f} years the open cluster has {listed(ahead)} of the closed one." if ahead else ""
    if behind:
        text += f" It falls short in {listed(behind)}."
    lead = opened["member firms"] < closed["member firms"] * 0.995
    if lead.any() and last["member firms"] > 1:
        crossing = float(opened.times[np.flatnonzero(lead)[-1]]) - float(opened.times[0])
        text += f" It does not lead from the start: in firms it is behind until year {crossing:.0f}."
    return text.strip()


def threshold(found: Findings) -> str:
    """How the threshold was looked for, and what was found for both clusters."""
    study = found.study
    first = found.thresholds[0].initial
    text = (
        f"Two clusters, the model as shipped and the one fitted to {place(found)}, were each started {len(first)} "
        f"times with another initial trust between {first.min():g} and {first.max():g}, everything else the same, "
        f"and followed for {study.threshold_years:.0f} years. "
        f"{_one_threshold(found.thresholds[0])} {_one_threshold(found.thresholds[1])}"
    )
    if any(np.isfinite(one.separatrix) for one in found.thresholds):
        text += " Same parameters, same levers, two outcomes: that is path dependence."
    return text


def _one_threshold(its: Threshold) -> str:
    """Where the threshold of one cluster lies and how far the cluster is from it; or that there is none."""
    name = its.name[:1].upper() + its.name[1:]
    if np.isnan(its.separatrix):
        low, high = float(its.outcomes.min()), float(its.outcomes.max())
        span = "less than a fifth apart" if high < 1.2 * low else "without a jump"
        return (
            f"{name}, the {its.variable} ends between {about(low)} and {about(high)}, {span}: here the outcome does "
            "not hang on a threshold of trust."
        )
    low, high = its.levels
    side = "above" if its.used > its.separatrix else "below"
    return (
        f"{name}: below an initial trust of {its.separatrix:.3f} the {its.variable} comes to rest near {about(low)}, "
        f"above it near {about(high)}. Its own start, {its.used:.2f}, lies "
        f"{abs(its.used - its.separatrix):.2f} {side} the threshold."
    )


def limits(found: Findings) -> str:
    """How many starts agree, and how many verdicts ask to be minded."""
    its = found.fit
    payoffs = np.array([start.payoff for start in its.starts])
    near = int(np.sum(payoffs <= its.payoff + CUT_OFF))
    failed = int(np.sum(~np.isfinite(payoffs)))
    minded = sum(not verdict.good for verdict in its.verdicts)
    text = (
        f"Of {counted(len(its.starts), 'start')}, {near} ended within the 95 % cut-off of the best "
        f"({CUT_OFF:g} in log-likelihood)" + (f" and {failed} failed" if failed else "") + ". "
    )
    if minded:
        return text + f"The fit passes {counted(minded, 'verdict')} on itself that a reader should mind:"
    return text + "The fit's own checks raise no objection."


def held(found: Findings) -> str:
    """What was not fitted: set by judgement, or left as in the model; and whether the data could tell some of it."""
    study = found.study
    moved = {key(name) for name in (*found.fit.values, *study.fixed)}
    rest = sum(key(name) not in moved for name in own_parameters(found.model))
    text = counted(
        rest, "parameter was left as the model file has it.", "parameters were left as the model file has them."
    )
    if study.fixed:
        values: dict[float, list[str]] = {}
        for name, value in study.fixed.items():
            values.setdefault(value, []).append(name)
        groups = [f"{listed(names)} at {value:g}" for value, names in values.items()]
        text += f" Set by judgement for {place(found)}, not fitted: {'; '.join(groups)}."
    if study.doubtful:
        doubts = found.doubts
        text += (
            f" Were {listed(list(study.doubtful))} free as well, the data would tell {doubts.told} of "
            f"{counted(doubts.free, 'direction')}. {' '.join(doubts.sentences)}"
        )
    return text.strip()


def lead(found: Findings) -> str:
    """The study in three sentences."""
    year = found.study.end
    changes = changes_at_end(found.policies, found.study.outcomes, year)
    best = max(changes, key=lambda policy: changes[policy][KNOWLEDGE])
    means = listed([f"{one.r_squared:.2f} for {one.indicator}".replace("-", "−") for one in found.fit.series])
    text = (
        f"A model of how firms learn together, fitted to {place(found)}, reaches an R² of {means}. "
        f"Of four policies the one of {SECTIONS[best[:3]]} moves shared knowledge most by {year:.0f} "
        f"({percent(changes[best][KNOWLEDGE])})."
    )
    shipped, fitted = found.thresholds
    if np.isfinite(fitted.separatrix):
        low, high = fitted.levels
        less = about(100 * (1 - low / high), 2)
        text += (
            f" Started with a trust below {fitted.separatrix:.2f}, the same cluster would end {less} % poorer in it."
        )
    elif np.isfinite(shipped.separatrix):
        text += (
            f" In the model as shipped a young cluster takes off only above an initial trust of "
            f"{shipped.separatrix:.2f}; {place(found)}, as fitted, does not hang on it."
        )
    return text
