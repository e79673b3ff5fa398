"""Straight-line code put in the order that a processor likes best.

A call of the mathematics library empties the registers and computes one number. Here exponentials and logarithms that
do not wait for each other are collected and worked out side by side, in one vector. While their arguments are on the
way there, lines that need none of them fill the time. What is left goes depth first, each result stored as soon as it
is known, so that few values wait in registers for their use.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

LANES = 8
"""Numbers in the widest vector of common processors (AVX-512)."""

FEWEST = 3
"""Calls of one kind, ready together, from which a vector pays."""

TOGETHER = """
def f_exp_all(w, at, count):
    for l in range(count):
        x = w[at + l]
        w[at + l] = l_exp(x) if not x > 709.0 else np.inf


def f_ln_all(w, at, count):
    for l in range(count):
        w[at + l] = l_ln(w[at + l])
"""
"""What the ordered lines call. As functions of their own, with a count that the compiler does not know, their loops are
made into vectors of eight."""

SIGNATURES = dict.fromkeys(("f_exp_all", "f_ln_all"), "void(float64[::1], uint64, uint64)")

_CALL = re.compile(r"(\w+) = (f_exp|f_ln)\(([^()]+)\)")
_SETS = re.compile(r"(\w+) = (.*)")
_LOCAL = re.compile(r"\b[cdev]\d+\b")


@dataclass
class _Plan:
    """Lines, what each reads, and what has been written so far."""

    lines: Sequence[str]
    reads: list[list[int]] = field(default_factory=list)
    stores: dict[int, list[int]] = field(default_factory=dict)
    calls: dict[int, str] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    done: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        sets: dict[str, int] = {}
        for number, line in enumerate(self.lines):
            found = _SETS.fullmatch(line)
            self.reads.append([sets[name] for name in _LOCAL.findall(found[2] if found else line) if name in sets])
            if found:
                sets[found[1]] = number
            elif len(self.reads[-1]) == 1:
                self.stores.setdefault(self.reads[-1][0], []).append(number)
            if call := _CALL.fullmatch(line):
                self.calls[number] = call[2]

    def waves(self) -> list[list[int]]:
        """Calls that are worked out together, wave after wave; those too few for a vector are lines like others."""
        while True:
            waves = self._latest()
            groups = [group for wave in waves for group in self._by_kind(wave)]
            few = [number for group in groups if len(group) < FEWEST for number in group]
            if not few:
                return waves
            for number in few:
                del self.calls[number]

    def _by_kind(self, wave: Sequence[int]) -> list[list[int]]:
        """Calls of a wave, exponentials and logarithms apart."""
        kinds = dict.fromkeys(self.calls[number] for number in wave)
        return [[number for number in wave if self.calls[number] == kind] for kind in kinds]

    def _latest(self) -> list[list[int]]:
        """Waves of calls, each as late as what reads it allows."""
        early = [0] * len(self.lines)
        for number, reads in enumerate(self.reads):
            early[number] = max((early[read] for read in reads), default=0) + (number in self.calls)
        count = max(early, default=0)
        late = [count] * len(self.lines)
        for number in reversed(range(len(self.lines))):
            for read in self.reads[number]:
                late[read] = min(late[read], late[number] - (number in self.calls))
        return [[number for number in self.calls if late[number] == wave + 1] for wave in range(count)]

    def write(self, number: int) -> None:
        """Write a line after those it reads, and what stores its value after it."""
        pending = [number]
        while pending:
            here = pending[-1]
            before = [read for read in self.reads[here] if read not in self.done]
            if before:
                pending += reversed(before)
                continue
            pending.pop()
            if here not in self.done:
                self.done.add(here)
                self.written.append(self.lines[here])
                pending += [store for store in self.stores.get(here, ()) if store not in self.done]

    def ready(self) -> list[int]:
        """Lines yet to be written that wait for no call."""
        waits = [False] * len(self.lines)
        for number, reads in enumerate(self.reads):
            waits[number] = number not in self.done and (number in self.calls or any(waits[read] for read in reads))
        return [number for number, wait in enumerate(waits) if not wait and number not in self.done]

    def write_wave(self, wave: Sequence[int], at: int, share: int) -> int:
        """Write the arguments of a wave, a share of the lines that do not wait for it, and the calls."""
        ends, results = [], {}
        for group in self._by_kind(wave):
            for place, number in enumerate(group, at):
                for read in self.reads[number]:
                    self.write(read)
                name, argument = _CALL.sub(r"\1 \3", self.lines[number]).split(" ", 1)
                self.written.append(f"w[{place}] = {argument}")
                results[number] = f"{name} = w[{place}]"
            count = -(-len(group) // LANES) * LANES
            ends.append(f"{self.calls[group[0]]}_all(w, np.uint64({at}), np.uint64({count}))")
            at += count
        ready = self.ready()
        for number in [n for n in ready if not _SETS.fullmatch(self.lines[n])]:
            self.write(number)
        for number in ready[: len(ready) // share]:
            self.write(number)
        self.written += [*ends, *results.values()]
        self.done.update(results)
        return at


def ordered(lines: Sequence[str], at: int) -> tuple[list[str], int]:
    r"""Lines in a better order.

    Parameters
    ----------
    lines
        Each sets a local name once (`e12 = ...`), or stores a value (`w[3] = e12`), and reads only names set before.
    at
        Where in `w` there is room for arguments, a multiple of `LANES`.

    Returns
    -------
    lines
        They call what `TOGETHER` defines.
    at
        Where that room ends.

    Examples
    --------
    >>> calls = [f"e{k} = f_exp(y[{k}])" for k in range(3)]
    >>> print("\n".join(ordered([*calls, "e9 = 2.0 * y[3]", "dy[0] = e9", "dy[1] = e0 + e1 + e2"], 16)[0]))
    w[16] = y[0]
    w[17] = y[1]
    w[18] = y[2]
    e9 = 2.0 * y[3]
    dy[0] = e9
    f_exp_all(w, np.uint64(16), np.uint64(8))
    e0 = w[16]
    e1 = w[17]
    e2 = w[18]
    dy[1] = e0 + e1 + e2
    """
    plan = _Plan(lines)
    waves = plan.waves()
    for number, wave in enumerate(waves):
        at = plan.write_wave(wave, at, len(waves) - number)
    for number, line in enumerate(lines):
        if not _SETS.fullmatch(line):
            plan.write(number)
    for number in range(len(lines)):
        plan.write(number)
    return plan.written, at
