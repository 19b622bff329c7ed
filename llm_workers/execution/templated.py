"""Jobs with `variables`: the plain job that their templates make."""

from dataclasses import replace

from api.services.jobs.job_templates import filled
from api.services.queue.job_work import ClaimedJob
from utilities import payload

_MESSAGES, _VARIABLES = "messages", "variables"


def in_full(job: ClaimedJob, system: str) -> tuple[ClaimedJob, str]:
    """Return a job and its system text with all templates filled.

    A job without variables is what it is: nothing in it is a template.

    Raises:
        TemplateFailedError: a template cannot be filled.
    """
    if _VARIABLES not in job.asked:
        return job, system
    asked = dict(job.asked)
    variables = payload.load(asked.pop(_VARIABLES))
    messages = asked.get(_MESSAGES)
    made = filled(
        system,
        None if messages is None else payload.load(messages),
        variables,
        has_request=bool(job.request_json),
    )
    if made.messages is not None:
        asked[_MESSAGES] = payload.dump(made.messages)
    return replace(job, asked=asked), made.system
