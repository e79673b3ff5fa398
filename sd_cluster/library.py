"""Names and files of the shipped models."""

from pathlib import Path

from sd_cluster.errors import ReadingError, near


def folder() -> Path:
    """Folder of the shipped models: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


def models() -> tuple[str, ...]:
    """Names of the shipped models, which `load` takes, sorted."""
    return tuple(sorted(path.stem for path in folder().glob("*.mdl")))


def path(name: str) -> Path:
    """The file of a shipped model.

    Raises
    ------
    ReadingError
        If there is no model of that name; the text names the nearest one.
    """
    found = folder() / f"{name}.mdl"
    if not found.is_file():
        raise ReadingError(f"no shipped model '{name}'{near(name, models())}; there are: {', '.join(models())}")
    return found
