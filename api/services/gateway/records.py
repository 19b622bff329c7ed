"""The record of one call through a vendor's interface."""

from dataclasses import dataclass

from api.models.stream_models import StreamStatus
from api.services.calls.live_stream import StreamEnd
from api.services.gateway.asked import Asked
from api.services.gateway.proxied import Proxied
from api.services.shared import client_reference
from utilities import payload
from utilities.clock import Clock
from utilities.cosmos_connector import Document, ObjectId

GATEWAY = "gateway"
# A larger answer is not kept whole: a document ends at 16 MiB.
_MOST_CHARACTERS = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A record that is being made; `made_at` in ms.

    It is a stream's record with the interface's path beside it.
    """

    record_id: ObjectId
    client_id: str
    made_at: int
    begun: Document
    keeps_texts: bool

    @classmethod
    def of(
        cls,
        asked: Asked | Proxied,
        client_id: str,
        now: int,
        *,
        keeps_texts: bool,
    ) -> "CallRecord":
        """Begin the record of a request."""
        group: Document = {
            "model": asked.model,
            "clientReference": None,
            "promptIds": [],
        }
        begun = {
            "clientId": client_id,
            "model": asked.model,
            "temperature": asked.temperature,
            "interface": asked.interface_name,
            "operation": GATEWAY,
            "startedAt": now,
            "requestData": asked.recorded(keeps_texts=keeps_texts),
            "clientReference": None,
            client_reference.INDEX_FIELD: client_reference.index_of(None),
            "groupKey": payload.dump(group),
        }
        return cls(ObjectId(), client_id, now, begun, keeps_texts)

    def ended(
        self,
        end: StreamEnd,
        metrics: dict[str, object],
        clock: Clock,
        routed: Document,
    ) -> Document:
        """Give the whole record."""
        error, now = end.error, clock()
        text = end.progress.text if self.keeps_texts else ""
        response: Document = {"text": _kept(text)}
        if error is not None:
            response |= {
                "error": payload.printable(error.message),
                "errorType": error.kind,
            }
        failed = error is not None
        return {
            "_id": self.record_id,
            **self.begun,
            **routed,
            "status": StreamStatus.ERROR if failed else StreamStatus.COMPLETED,
            "responseData": payload.dump(response),
            "processingMetrics": metrics,
            "_metadata": {
                "createdAt": self.made_at,
                "updatedAt": now,
                "completedAt": now,
                "createdBy": self.client_id,
                "updatedBy": self.client_id,
            },
        }


def _kept(text: str) -> str:
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[:_MOST_CHARACTERS]} [... {len(text)} characters]"
    return payload.printable(text)
