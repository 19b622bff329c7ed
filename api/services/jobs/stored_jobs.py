"""How jobs are read, and changed by compare and set."""

from api.models.job_models import Job
from api.services.jobs import batch_change, job_documents
from api.services.shared.repository import Repository
from utilities.clock import Clock
from utilities.cosmos_connector import Documents


def stored_jobs(documents: Documents, clock: Clock) -> Repository[Job]:
    """Give the jobs as what clients and the administrator change."""
    # Workers change the status, without advancing the revision.
    return Repository(
        documents,
        Job,
        "Job",
        guarded=("status",),
        derived=job_documents.DERIVED,
        is_marked=lambda job: batch_change.is_marked(job, clock()),
    )
