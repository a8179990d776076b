"""A frame of text as a table: in a terminal, as Markdown, CSV or LaTeX."""

from ..presets import choose
from .tables import markdown

GAP = 3  # letters between two columns in a terminal


def formatted(frame, how):
    """The text of a frame; how: a name in FORMATS. ValueError for another one."""
    return choose("format", how, FORMATS)(frame)


def terminal(frame):
    """Lines no wider than the terminal: columns that do not fit beside the others come below."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    with console.capture() as captured:
        for part in _parts(frame, console.width):
            table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
            table.add_column(frame.index.name or "", no_wrap=True)
            for name in part.columns:
                table.add_column(str(name), justify="right")
            for name, row in part.iterrows():
                table.add_row(str(name), *map(str, row))
            console.print(table, "")
    return captured.get().rstrip()


def _parts(frame, width):
    """Frames of the first columns, the next ones, and so on, each at most `width` letters wide."""
    names = max(len(str(name)) for name in (frame.index.name, *frame.index)) + GAP
    start, used = 0, names
    for i, name in enumerate(frame.columns):
        own = max(len(str(text)) for text in (name, *frame[name])) + GAP
        if used + own > width and i > start:
            yield frame.iloc[:, start:i]
            start, used = i, names
        used += own
    yield frame.iloc[:, start:]


def csv(frame):
    """Comma-separated values with a line of titles."""
    return frame.to_csv().rstrip("\n")


def latex(frame):
    """A tabular environment with the rules of booktabs; what LaTeX would read is escaped."""
    columns = "l" + "r" * len(frame.columns)
    text = frame.reset_index().to_latex(index=False, escape=True, column_format=columns)
    return text.replace("±", r"$\pm$").rstrip()


FORMATS = {"table": terminal, "markdown": markdown, "csv": csv, "latex": latex}
