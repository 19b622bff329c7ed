"""The Python client of Metasync: run prompts over data.

from metasync import Metasync

with Metasync() as client:
for result in client.map("Is {{ text }} kind?", ["a", "b"], model="m"):
print(result.value)
"""

from importlib import metadata

from metasync._async.client import AsyncMetasync
from metasync._async.mapping import AsyncResults
from metasync._sync.client import Metasync
from metasync._sync.mapping import Results
from metasync.errors import (
    AllFailAlikeError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    EmbeddedError,
    FieldError,
    InvalidRequestError,
    JobFailedError,
    MetasyncError,
    MissingPackageError,
    NoAnswerError,
    NotFoundError,
    NoWorkerError,
    PermissionDeniedError,
    RateLimitedError,
    ResultsError,
    RowFailedError,
    ServerError,
    SignatureError,
    StatusError,
    StreamFailedError,
    TooLargeError,
    WaitTimeoutError,
)
from metasync.jobs import (
    Job,
)
from metasync.results import Result
from metasync.webhooks import WebhookVerifier

__version__ = metadata.version("metasync-client")

__all__ = [
    "AllFailAlikeError",
    "AsyncMetasync",
    "AsyncResults",
    "AuthenticationError",
    "BadRequestError",
    "ConfigurationError",
    "ConflictError",
    "EmbeddedError",
    "FieldError",
    "InvalidRequestError",
    "Job",
    "JobFailedError",
    "Metasync",
    "MetasyncError",
    "MissingPackageError",
    "NoAnswerError",
    "NoWorkerError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitedError",
    "Result",
    "Results",
    "ResultsError",
    "RowFailedError",
    "ServerError",
    "SignatureError",
    "StatusError",
    "StreamFailedError",
    "TooLargeError",
    "WaitTimeoutError",
    "WebhookVerifier",
    "__version__",
]
