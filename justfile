# Every recipe is one plain command; `just` alone runs what must pass before a commit.

default: lint test

# Style and types
lint:
    ruff check .
    ruff format --check .
    mypy

# Everything that has a test; arguments go to pytest
test *args:
    pytest {{args}}

# docs/cli.md from the help texts
docs:
    python tools/make_cli_docs.py

# Expected output of the examples, and the tables of README and docs/validation.md
examples:
    python tools/refresh_docs.py

# Residuals of measured kernels beside the parameters as they stand, and what they add
residuals data:
    python tools/ship_residuals.py --data {{data}}
    python tools/score_residuals.py --data {{data}}

# Tables and figures of the forms of kernels from a folder of kernel timings; figures need the extra `docs`
kernels data:
    python tools/score_kernels.py --data {{data}}
    python tools/score_unseen_gpus.py --data {{data}}
    python tools/ablate_kernels.py --data {{data}}
    python tools/score_layers.py --data {{data}}
    python tools/draw_kernels.py --data {{data}}

# Serving runs against the model as it stands, and the bands that follow
serving data:
    python tools/score_serving.py --data {{data}} --write

# Speed of llmplan itself
bench *args:
    python benchmarks/run.py {{args}}

# The whole check in a fresh environment
ci:
    .ci/run
