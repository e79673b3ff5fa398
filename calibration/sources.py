"""Figures fetched from statistical offices that speak SDMX (Eurostat, OECD), kept on disk, as our tidy table.

The client is `sdmx1`, which knows the services' addresses and writes and sends the request. The answer is asked for as
SDMX-CSV, which a person can read, and is kept as it came; the same function reads a stored one.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.rows import COLUMNS
from sd_cluster.errors import DataError, near
from sd_cluster.files import cache_folder, write_beside

if TYPE_CHECKING:
    import pandas as pd

TIMEOUT = 60.0
"""Seconds to wait for a service."""


@dataclass(frozen=True)
class Service:
    """A statistical office: its name, its name in `sdmx1`, and its word for SDMX-CSV."""

    name: str
    client: str
    table: str


SERVICES = {"eurostat": Service("Eurostat", "ESTAT", "SDMX-CSV"), "oecd": Service("OECD", "OECD", "csvfile")}

FLAGS = {
    "a": "", "b": "break", "c": "confidential", "d": "definition differs", "e": "estimated", "f": "forecast",
    "i": "imputed", "l": "missing", "m": "missing", "n": "not significant", "o": "missing", "p": "provisional",
    "q": "suppressed", "r": "revised", "s": "estimated by the office", "u": "unreliable", "z": "not applicable",
}  # fmt: skip
"""Words for the letters of `OBS_FLAG` and `OBS_STATUS`: Eurostat's, which agree with SDMX's own list but for `s`."""

_ABOUT = ("DATAFLOW", "LAST UPDATE", "STRUCTURE", "STRUCTURE_ID", "STRUCTURE_NAME", "ACTION")
_PLACES = ("geo", "ref_area")
_UNITS = ("unit", "unit_measure")


def fetch(
    service: str,
    dataset: str,
    key: str = "",
    *,
    first: int | None = None,
    last: int | None = None,
    indicator: str | None = None,
    refresh: bool = False,
) -> pd.DataFrame:
    """Fetch yearly figures from a statistical office, or take them from the cache where they were fetched before.

    Parameters
    ----------
    service
        "eurostat" or "oecd".
    dataset
        The office's code: "PAT_EP_RTOT"; for the OECD agency, flow and version, "AGENCY,FLOW,1.0".
    key
        Which figures: codes of the dimensions in the order of the dataset, with dots between, a plus between
        alternatives and nothing for all, such as "A.NR.DE21+NL41".
    first, last
        First and last year, both included.
    indicator
        Name of the series instead of the dataset's code.
    refresh
        True asks the service even if the answer is in the cache.

    Returns
    -------
    table
        As `read_answer` gives it; `dataset_from(table, region=...)` makes a dataset of it.

    Raises
    ------
    DataError
        Where `sdmx1` is not installed, the service does not answer or has no such figures, or the answer is no table.
    """
    if service not in SERVICES:
        raise DataError(f"no service '{service}'{near(service, SERVICES)}; there are {', '.join(SERVICES)}")
    path = _place(service, dataset, key, first, last)
    if refresh or not path.is_file():
        content = _ask(SERVICES[service], dataset, key, first, last)
        table = read_answer(content, SERVICES[service].name, indicator=indicator)
        with suppress(OSError):  # a cache that may not be written costs only time
            write_beside(path, lambda beside: _write(beside, content))
        return table
    return read_answer(path, SERVICES[service].name, indicator=indicator)


def read_answer(answer: Path | bytes, office: str = "Eurostat", *, indicator: str | None = None) -> pd.DataFrame:
    """Read a stored SDMX-CSV answer (version 1.0) as our tidy table.

    Flags become words in the column `status` ("provisional", "break, estimated"); a missing or confidential figure
    is an empty value. Dimensions that vary within the answer, other than place and year, are added to the name of the
    indicator, the unit too; so each indicator has one unit.

    Parameters
    ----------
    answer
        A file, or its bytes.
    office
        Who published it, for the column `source`.
    indicator
        Name of the series; the dataset's code in small letters when left out.

    Returns
    -------
    table
        Columns region, year, indicator, value, unit, source, status.

    Raises
    ------
    DataError
        If this is no such table, holds other than yearly figures or a value that is no number.
    """
    import pandas as pd

    told = answer.name if isinstance(answer, Path) else f"the answer of {office}"
    table = _columns_of(answer, told)
    dimensions = [name for name in table.columns[: list(table.columns).index("OBS_VALUE")] if name not in _ABOUT]
    place, unit = _named(table.columns, _PLACES), _named(table.columns, _UNITS)
    if place is None:
        raise DataError(f"{told} has no column geo or REF_AREA, but {', '.join(table.columns)}")
    shared = {place, "TIME_PERIOD", "freq", "FREQ"}
    varying = [name for name in dimensions if name not in shared and table[name].nunique() > 1]
    flow = re.sub(r"^.*?:|\(.*\)$", "", str(table["DATAFLOW"].iloc[0])) if "DATAFLOW" in table else office
    name = indicator or flow.lower()
    updated = f", updated {table['LAST UPDATE'].iloc[0].split(' ')[0]}" if "LAST UPDATE" in table else ""
    found = {
        "region": table[place],
        "year": _years(table["TIME_PERIOD"], told),
        "indicator": [" ".join([name, *codes]) for codes in table[varying].itertuples(index=False)],
        "value": _values(table["OBS_VALUE"], told),
        "unit": _units(table, unit),
        "source": f"{office} {flow}{updated}",
        "status": _statuses(table),
    }
    return pd.DataFrame(found)[[*COLUMNS, "status"]]


def _place(service: str, *asked: object) -> Path:
    digest = hashlib.sha256("\0".join(map(str, asked)).encode()).hexdigest()[:16]
    stem = re.sub(r"[^a-z0-9]+", "-", str(asked[0]).lower()).strip("-")
    return cache_folder() / "answers" / f"{service}-{stem}-{digest}.csv"


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _ask(service: Service, dataset: str, key: str, first: int | None, last: int | None) -> bytes:
    """Send the request that sdmx1 writes, with the service's word for SDMX-CSV, and give the bytes of the answer."""
    try:
        import sdmx
    except ImportError as error:
        raise DataError("fetching needs the client sdmx1; pip install 'sd-cluster[sdmx]'") from error
    span = {"startPeriod": first, "endPeriod": last}
    client = sdmx.Client(service.client, timeout=TIMEOUT)
    what = f"{dataset}/{key}" if key else dataset
    try:
        years = {name: str(year) for name, year in span.items() if year is not None}
        request: Any = client.get("data", dataset, key=key, params=years, dry_run=True)
        request.prepare_url(request.url, {"format": service.table})
        answer = client.session.send(request, timeout=TIMEOUT)
    except (OSError, ValueError) as error:  # what requests raises is an OSError
        raise DataError(
            f"{service.name} could not be asked for {what} ({type(error).__name__}); check the connection and the "
            "code, or read a stored table"
        ) from error
    if answer.status_code != 200:
        raise DataError(
            f"{service.name} has no answer to {what} (HTTP {answer.status_code}); check the code of the dataset and "
            "the key, and ask for fewer figures at once"
        )
    return bytes(answer.content)


def _columns_of(answer: Path | bytes, told: str) -> pd.DataFrame:
    """All cells as text, after a look at the header."""
    import pandas as pd

    try:
        content = answer.read_bytes() if isinstance(answer, Path) else answer
        table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{told} cannot be read: {error.strerror}") from error
    except ValueError as error:  # also pandas' own ParserError and EmptyDataError
        raise DataError(f"{told} is not SDMX-CSV; ask for fewer figures, or look at the file") from error
    if not {"TIME_PERIOD", "OBS_VALUE"} <= set(table.columns):
        begins = content[:60].decode("utf-8", "replace").splitlines()[0]
        raise DataError(f"{told} is not SDMX-CSV with TIME_PERIOD and OBS_VALUE; it begins '{begins}'")
    if table.empty:
        raise DataError(f"{told} has no figures; check the key and the years")
    return table


def _named(columns: pd.Index[str], names: Sequence[str]) -> str | None:
    return next((column for column in columns if column.lower() in names), None)


def _years(periods: pd.Series[str], told: str) -> pd.Series[int]:
    wrong = periods[~periods.str.fullmatch(r"\d{4}")]
    if len(wrong):
        raise DataError(
            f"{told}: TIME_PERIOD '{wrong.iloc[0]}' is not a year; ask for yearly figures, frequency A in the key"
        )
    return periods.astype(int)


def _values(texts: pd.Series[str], told: str) -> pd.Series[float]:
    """Numbers; NaN, which is a gap, only for an empty cell or a colon."""
    import pandas as pd

    gaps = texts.str.strip().isin(["", ":", "NaN"])
    numbers = pd.to_numeric(texts.mask(gaps), errors="coerce")
    wrong = texts[numbers.isna() & ~gaps]
    if len(wrong):
        raise DataError(f"{told} line {wrong.index[0] + 2}: OBS_VALUE '{wrong.iloc[0]}' is not a number")
    return numbers.astype(float)


def _units(table: pd.DataFrame, column: str | None) -> list[str]:
    """The unit, with the power of ten the figures are given in where the office says so."""
    units = table[column].tolist() if column else [""] * len(table)
    powers = table["UNIT_MULT"].tolist() if "UNIT_MULT" in table else [""] * len(table)
    return [
        f"{unit} (10^{power})".strip() if power not in ("", "0") else unit
        for unit, power in zip(units, powers, strict=True)
    ]


def _statuses(table: pd.DataFrame) -> list[str]:
    flags = _named(table.columns, ("obs_flag", "obs_status"))
    letters = table[flags] if flags else [""] * len(table)
    secrets = table["CONF_STATUS"] if "CONF_STATUS" in table else [""] * len(table)
    return [_words(flag, secret) for flag, secret in zip(letters, secrets, strict=True)]


def _words(flag: str, secret: str = "") -> str:
    """Write the flags of a figure as words.

    >>> _words("bp"), _words("A"), _words("", "C")
    ('break, provisional', '', 'confidential')
    """
    words = [FLAGS.get(letter.lower(), f"flag {letter}") for letter in flag if letter.isalpha()]
    if secret.strip().upper() not in ("", "F"):  # F: free for publication
        words.append("confidential")
    return ", ".join(dict.fromkeys(word for word in words if word))
