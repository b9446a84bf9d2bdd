#!/usr/bin/env bash
# The shortest way to see ML-Dash at work: a real training whose run folder is shown at the end.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

scripts/install.sh build demo
scripts/build.sh
exec "$venv/bin/python" examples/digits/train.py "$@"
