"""The local language model's process: OpenAI's HTTP API over llama.cpp.

`python -m cli.local_llm_server --model FILE [--port N]` writes one
line `{"port": N}` to stdout when it accepts calls on 127.0.0.1. It ends on
SIGTERM and when its stdin ends, so that it never outlives the process that
holds the other end of that pipe. Warnings of llama.cpp go to stderr.

It is set up for a base model, which continues text and follows no chat
format: a call's messages are joined, a line each, and whatever the model
would like to say, it can only say one compact JSON object.
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

import xllamacpp

# Worked examples in the first message continue into the second one, and a
# missing or doubled end of line at the seam would spoil their pattern.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ message['content'] | trim }}{{ '\\n' }}"
    "{%- endfor -%}"
)
# One JSON object with something in it and no white space. After its last
# brace nothing but the end is possible, so an answer's finish_reason is
# "stop". A call that sends a `response_format` is held to that instead.
GRAMMAR = r"""
root ::= "{" pair ("," pair)* "}"
object ::= "{" (pair ("," pair)*)? "}"
pair ::= string ":" value
array ::= "[" (value ("," value)*)? "]"
value ::= string | number | object | array | "true" | "false" | "null"
string ::= "\"" char* "\""
char ::= [^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})
number ::= "-"? integer ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,3})?
integer ::= "0" | [1-9] [0-9]{0,15}
"""
# A call without `max_tokens` must end, though the grammar allows an endless
# string and a base model without worked examples likes to write one.
_ANSWER_TOKENS = 256
# Prompts seen before, kept in memory for when they come again. The
# library's own limit is 8 GiB.
_CACHE_MIB = 512
# Connections served at once; a client keeps its connections open.
_HTTP_THREADS = 128
_WARNINGS = 2  # of its log levels


def parameters(
    model: Path, *, port: int, parallel: int, context: int
) -> xllamacpp.CommonParams:
    """Settings of a server of a base model for many short calls.

    Args:
        model: weights, a GGUF file.
        port: TCP port on 127.0.0.1; 0 is a free one.
        parallel: calls that are computed together; more of them wait.
        context: tokens of all calls computed together.
    """
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    # Else the models' list would tell callers where the file is.
    params.model_alias = {model.stem}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.chat_template = CHAT_TEMPLATE
    params.sampling.grammar = xllamacpp.CommonGrammar(
        xllamacpp.common_grammar_type.COMMON_GRAMMAR_TYPE_USER, GRAMMAR
    )
    params.n_predict = _ANSWER_TOKENS
    _share(params, parallel=parallel, context=context)
    _restrict(params)
    return params


def _share(
    params: xllamacpp.CommonParams, *, parallel: int, context: int
) -> None:
    params.n_parallel = parallel
    params.n_ctx = context
    # One pool of tokens: a single long prompt may use all of it.
    params.kv_unified = True
    # The model's attention window slides, and without the full cache a
    # prompt's beginning is computed anew in each call: three times slower.
    params.swa_full = True
    params.cache_ram_mib = _CACHE_MIB
    params.n_threads_http = _HTTP_THREADS
    cores = os.cpu_count() or 1
    params.cpuparams.n_threads = cores
    params.cpuparams_batch.n_threads = cores


def _restrict(params: xllamacpp.CommonParams) -> None:
    params.verbosity = _WARNINGS
    params.offline = True
    params.ui = False
    # They would show one caller's prompts to another.
    params.endpoint_slots = False
    # No web page that happens to be open may use it.
    params.cors_origins = ""


def _claim_stdout() -> TextIO:
    """Take stdout for the one line; what else is printed goes to stderr."""
    protocol = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return protocol


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--context", type=int, default=16384)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Serve until stdin ends, then end the process."""
    # Ctrl-C reaches the whole process group: the parent decides the order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    options = _parse(arguments)
    params = parameters(
        options.model,
        port=options.port,
        parallel=options.parallel,
        context=options.context,
    )
    with _claim_stdout() as protocol:
        server = xllamacpp.Server(params)
        port = urlsplit(server.listening_address).port
        protocol.write(json.dumps({"port": port}) + "\n")
    sys.stdin.buffer.read()
    # Not by returning: the library's own end waits for its threads, and now
    # and then for ever. There is nothing to be saved.
    os._exit(0)


if __name__ == "__main__":
    main()
