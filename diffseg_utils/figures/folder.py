"""A folder of figures: what notebook 04 draws is saved there, and put on results/README.md."""

from pathlib import Path


class FigureFolder:
    """Saves figures, and remembers their captions for a page.

    public = FigureFolder("results/figures")
    public.publish("baselines", fig_published_scores(...), "The paper's baseline")
    results_page("results", public.captions)
    """

    def __init__(self, folder, pdf=False):
        self.folder = Path(folder)
        self.pdf = pdf
        self.captions = {}  # {name: caption} of the figures for the page, in the order of drawing
        self.paths = []  # of all figures that were saved

    def publish(self, name, figure, caption=""):
        """Save the figure as <name>.png, and as PDF if all are; returns it, to be shown.

        A figure with a caption goes on the page. ValueError if there is one of that name.
        """
        path = self.folder / f"{name}.png"
        if path in self.paths:
            raise ValueError(f"{path}: a figure of this name was published before")
        figure.save(self.folder / name, pdf=self.pdf)
        self.paths.append(path)
        if caption:
            self.captions[name] = caption
        return figure
