# make results: the four mini datasets, end to end     make paper: the paper's four, with the official files
# make evidence: all that the README quotes, 500 test images     make lab: JupyterLab on the tour
# make class: notebooks for students, without solutions, in class/
# make browser: JupyterLab in a real browser (Chromium has to be installed); pictures go to browser/
# make test: all tests     make stress: random kills, Slurm and dask clusters (about ten minutes)
PYTHON ?= python3

# glibc maps every large tensor anew, and page faults take a fifth of a run's time; elsewhere these do nothing
export MALLOC_MMAP_THRESHOLD_ := 1073741824
export MALLOC_TRIM_THRESHOLD_ := 17179869184

results: .venv/ready
	.venv/bin/diffseg run

paper: .venv/ready
	.venv/bin/diffseg run --fetch bedroom_28 ffhq_34 cat_15 horse_21

evidence: .venv/ready
	.venv/bin/diffseg evidence
	.venv/bin/diffseg evidence --recipe tuned --seeds 0,1,2
	.venv/bin/diffseg notebook 07
	.venv/bin/diffseg notebook 08

test: .venv/ready
	.venv/bin/pytest -n 2 --dist loadfile

stress: .venv/ready
	.venv/bin/pytest tests/stress.py -s

lab: .venv/ready
	.venv/bin/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/00_tour.ipynb \
		--FileContentsManager.post_save_hook=diffseg_utils.runs.saved.after_save

# Of a notebook that was saved, git sees the source alone: a filter takes out what JupyterLab and VS Code add.
PYTHON_OF_FILTER ?= .venv/bin/python
export FILTER := "$(PYTHON_OF_FILTER)" -m nbstripout --keep-id --extra-keys "metadata.language_info metadata.vscode cell.metadata.vscode" | sed 's/"display_name": ".*"/"display_name": "Python 3 (ipykernel)"/'

filter:
	@git rev-parse --git-dir >/dev/null 2>&1 && git config filter.notebooks.clean "$$FILTER" || true

class: .venv/ready
	.venv/bin/python -m diffseg_utils.teaching class

browser: .venv/ready
	.venv/bin/python -m pip install -q --disable-pip-version-check playwright
	.venv/bin/pytest tests/browser.py -s

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, for example: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo "installing into .venv (a few minutes the first time)"
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install -q --disable-pip-version-check -r requirements.lock
	@.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@$(MAKE) -s filter
	@touch $@

.PHONY: results paper evidence test stress lab filter class browser
