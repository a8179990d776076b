"""What the paper's authors published.

download: their files. classifiers: their pixel classifiers. vote: the votes of these.
"""
