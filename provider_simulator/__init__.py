"""A simulator of LLM providers: their wire formats, answers, and failures.

`metasync simulate` runs it for people, `running_simulator` for tests and
benchmarks. `docs/simulator.md` describes it.
"""
