"""What the paper's authors published: their files (download), their classifiers (classifiers), and votes of these (vote)."""
