#!/bin/sh
# `bru`, as run.py puts it beside the virtual environment's python.
# The Bruno CLI must be run in the root of a collection; this goes there:
#     bru run tests/bruno --env dev
# The server's secrets come from the environment, else from .env.
set -eu
bin=$(cd "$(dirname "$0")" && pwd)
env_file=
if [ -f .env ]; then
    env_file="--env-file=$PWD/.env"
fi
if [ "${1-}" = run ] && [ -f "${2-}/bruno.json" ]; then
    cd "$2"
    shift 2
    set -- run "$@"
fi
PATH="$bin:$PATH"
export PATH
exec node ${env_file:+"$env_file"} \
    "$bin/../bruno/node_modules/@usebruno/cli/bin/bru.js" "$@"
