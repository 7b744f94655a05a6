#!/bin/sh
# The survey as it is sent to the instance: the inputs lie beside it in the work folder, results/ is brought back.
set -eu
echo "survey on $(uname -n), seed ${SEED}, ${FOLDS} folds"
python3 ridge.py
