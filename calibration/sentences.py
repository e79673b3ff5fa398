"""What a study found, in sentences: each is computed from the results, none is written beforehand."""

from __future__ import annotations

import numpy as np

from calibration.figures import signed
from calibration.study import SECTIONS, Findings, changes_at_end, levers, own_parameters, place_of
from calibration.thresholds import Threshold
from calibration.words import about, counted, listed
from sd_cluster.model import key

KNOWLEDGE = "shared knowledge base"


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
        f"and followed for {study.trust.years:.0f} years. "
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


def held(found: Findings) -> str:
    """What was not fitted: set by judgement, or left as in the model."""
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
    return text.strip()


def doubts(found: Findings) -> tuple[str, ...]:
    """What the data would say of parameters that were held, were they free as well."""
    names = listed(list(found.study.doubtful))
    first, *others = found.doubts.sentences
    return (f"Were {names} free as well, this is what the figures would say. {first}", *others)


def lead(found: Findings) -> str:
    """What follows from the fitted model, in two sentences."""
    year = found.study.end
    changes = changes_at_end(found.policies, found.study.outcomes, year)
    best = max(changes, key=lambda policy: changes[policy][KNOWLEDGE])
    text = (
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
