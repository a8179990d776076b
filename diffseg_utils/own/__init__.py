"""Your own images and classes: a folder with images/, masks/ and a dataset.yml is a dataset."""
