"""The stages that every call passes, in order: the only list of them."""

from api.services.limits.admission import Admission
from api.services.limits.suspension_stage import SuspensionStage
from api.services.limits.suspensions import Suspensions


def build_admission(suspensions: Suspensions) -> Admission:
    """Make what admits the calls of a process, whoever makes them."""
    return Admission([SuspensionStage(suspensions)])
