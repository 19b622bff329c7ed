"""The vendors' batch interfaces: files, batches, and lines as jobs.

How a batch lives:

1. A file is stored in compressed pieces of 1 MiB while it comes in
   (`file_pieces`). Requests of Anthropic's interface become such a file,
   too: one line each.
2. `batch_service` stores the batch. What happens then is done by
   `llm_workers.built_in.batch_keeper`, in one process at a time for each
   batch; every step can be repeated after a crash.
3. The file is checked line by line (`input_lines`). If any line is wrong,
   the batch fails, and every wrong line is named.
4. Each line becomes a job (`line_jobs`): the body as it came is its
   `requestData`. Its id follows from the batch and the line's number, so
   that a repeated insert does nothing. The lines are of the class `bulk`,
   behind the client's other jobs, and expire with the batch.
5. A built-in worker for each client with an open batch claims the jobs
   from the queue (`llm_workers.built_in.batch_workers`); the client's own
   workers may take them as well. A call is made as for a live request of
   the same interface (`llm_workers.execution.line_step`), within the same
   limits and budgets, and retried as other jobs are.
6. When no line waits or runs any more, the output is written from the
   jobs, in the order of the input file: each line once (`result_lines`).

A cancelled batch cancels its jobs. Lines without an answer, cancelled or
expired, are told in the error file, so that each `custom_id` of a batch is
answered exactly once.
"""
