"""The services as FastAPI dependencies; `main_app` puts them in place."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from api.core.login_limits import LoginLimits
from api.core.scrape_access import ScrapeAccess
from api.services.batches.batch_service import BatchService
from api.services.batches.file_service import FileService
from api.services.clients.client_service import ClientService
from api.services.datasets.dataset_service import DatasetService
from api.services.datasets.upload import DatasetUpload
from api.services.evaluations.evaluation_service import EvaluationService
from api.services.evaluations.result_store import ResultStore
from api.services.gateway.gateway_service import GatewayService
from api.services.jobs.answer_jobs import AnswerJobs
from api.services.jobs.job_bulk import JobBulk
from api.services.jobs.job_cancel import JobCancel
from api.services.jobs.job_ends import JobEnds
from api.services.jobs.job_gathering import JobGathering
from api.services.jobs.job_service import JobService
from api.services.jobs.job_waiting import JobWaiting
from api.services.keeping.erasure import ErasureService
from api.services.limits.budget_service import BudgetService
from api.services.limits.request_limits import RequestLimits
from api.services.limits.suspensions import Suspensions
from api.services.limits.usage_service import UsageService
from api.services.models.model_health import ModelHealthService
from api.services.models.model_service import ModelService
from api.services.monitoring.health_service import HealthService
from api.services.monitoring.metrics_service import MetricsService
from api.services.prompts.prompt_flow_service import PromptFlowService
from api.services.prompts.prompt_service import PromptService
from api.services.routes.route_service import RouteService
from api.services.runs.run_service import RunService
from api.services.streams.stream_service import StreamService
from api.services.webhooks.webhook_service import WebhookService
from api.services.workers.worker_service import WorkerService


@dataclass(frozen=True)
class Services:
    """Every service of the application, and the secrets that guard it."""

    clients: ClientService
    models: ModelService
    routes: RouteService
    model_health: ModelHealthService
    suspensions: Suspensions
    prompts: PromptService
    prompt_flows: PromptFlowService
    jobs: JobService
    answer_jobs: AnswerJobs
    job_bulk: JobBulk
    job_cancel: JobCancel
    job_ends: JobEnds
    job_gathering: JobGathering
    job_waiting: JobWaiting
    files: FileService
    batches: BatchService
    streams: StreamService
    gateway: GatewayService
    runs: RunService
    datasets: DatasetService
    dataset_upload: DatasetUpload
    evaluations: EvaluationService
    evaluation_results: ResultStore
    evaluation_ends: JobEnds
    usage: UsageService
    budgets: BudgetService
    workers: WorkerService
    webhooks: WebhookService
    erasure: ErasureService
    health: HealthService
    metrics: MetricsService
    scrape_access: ScrapeAccess
    login_limits: LoginLimits
    request_limits: RequestLimits
    max_file_bytes: int
    admin_api_key: str
    docs_user: str
    docs_secret: str

    def release_waiting(self) -> None:
        """Answer the requests that only wait for something to end."""
        self.job_ends.release()
        self.evaluation_ends.release()


def get_services(request: Request) -> Services:
    """Return what `main_app` wired for this application."""
    return cast("Services", request.app.state.services)


AllServices = Annotated[Services, Depends(get_services)]


def get_client_service(services: AllServices) -> ClientService:
    """Return the clients' service."""
    return services.clients


def get_model_service(services: AllServices) -> ModelService:
    """Return the models' service."""
    return services.models


def get_route_service(services: AllServices) -> RouteService:
    """Return the routes' service."""
    return services.routes


def get_model_health_service(services: AllServices) -> ModelHealthService:
    """Return what knows how calls to models go."""
    return services.model_health


def get_suspensions(services: AllServices) -> Suspensions:
    """Return what knows which models are suspended."""
    return services.suspensions


def get_prompt_service(services: AllServices) -> PromptService:
    """Return the prompts' service."""
    return services.prompts


def get_prompt_flow_service(services: AllServices) -> PromptFlowService:
    """Return the prompt flows' service."""
    return services.prompt_flows


def get_job_service(services: AllServices) -> JobService:
    """Return the jobs' service."""
    return services.jobs


def get_job_bulk(services: AllServices) -> JobBulk:
    """Return what changes all jobs of a filter."""
    return services.job_bulk


def get_job_cancel(services: AllServices) -> JobCancel:
    """Return what cancels jobs."""
    return services.job_cancel


def get_job_ends(services: AllServices) -> JobEnds:
    """Return what lets requests wait for jobs."""
    return services.job_ends


def get_job_gathering(services: AllServices) -> JobGathering:
    """Return what waits for many jobs."""
    return services.job_gathering


def get_job_waiting(services: AllServices) -> JobWaiting:
    """Return what knows why jobs wait."""
    return services.job_waiting


def get_stream_service(services: AllServices) -> StreamService:
    """Return the streams' service."""
    return services.streams


def get_run_service(services: AllServices) -> RunService:
    """Return the runs' service."""
    return services.runs


def get_dataset_service(services: AllServices) -> DatasetService:
    """Return the datasets' service."""
    return services.datasets


def get_dataset_upload(services: AllServices) -> DatasetUpload:
    """Return what takes datasets in as files."""
    return services.dataset_upload


def get_evaluation_service(services: AllServices) -> EvaluationService:
    """Return the evaluations' service."""
    return services.evaluations


def get_evaluation_ends(services: AllServices) -> JobEnds:
    """Return what lets requests wait for evaluations."""
    return services.evaluation_ends


def get_usage_service(services: AllServices) -> UsageService:
    """Return what reads the ledger."""
    return services.usage


def get_budget_service(services: AllServices) -> BudgetService:
    """Return what knows how budgets are."""
    return services.budgets


def get_worker_service(services: AllServices) -> WorkerService:
    """Return the workers' service."""
    return services.workers


def get_webhook_service(services: AllServices) -> WebhookService:
    """Return the webhooks' service."""
    return services.webhooks


def get_erasure_service(services: AllServices) -> ErasureService:
    """Return what erases clients."""
    return services.erasure


def get_health_service(services: AllServices) -> HealthService:
    """Return the health service."""
    return services.health


def get_metrics_service(services: AllServices) -> MetricsService:
    """Return what writes this process's metrics."""
    return services.metrics


Clients = Annotated[ClientService, Depends(get_client_service)]
Models = Annotated[ModelService, Depends(get_model_service)]
Routes = Annotated[RouteService, Depends(get_route_service)]
ModelHealths = Annotated[ModelHealthService, Depends(get_model_health_service)]
Suspended = Annotated[Suspensions, Depends(get_suspensions)]
Prompts = Annotated[PromptService, Depends(get_prompt_service)]
PromptFlows = Annotated[PromptFlowService, Depends(get_prompt_flow_service)]
Jobs = Annotated[JobService, Depends(get_job_service)]
Bulk = Annotated[JobBulk, Depends(get_job_bulk)]
Canceling = Annotated[JobCancel, Depends(get_job_cancel)]
Ends = Annotated[JobEnds, Depends(get_job_ends)]
Gathering = Annotated[JobGathering, Depends(get_job_gathering)]
Waiting = Annotated[JobWaiting, Depends(get_job_waiting)]
Streams = Annotated[StreamService, Depends(get_stream_service)]
Runs = Annotated[RunService, Depends(get_run_service)]
Datasets = Annotated[DatasetService, Depends(get_dataset_service)]
Uploads = Annotated[DatasetUpload, Depends(get_dataset_upload)]
Evaluations = Annotated[EvaluationService, Depends(get_evaluation_service)]
EvaluationEnds = Annotated[JobEnds, Depends(get_evaluation_ends)]
UsageReports = Annotated[UsageService, Depends(get_usage_service)]
Budgets = Annotated[BudgetService, Depends(get_budget_service)]
Workers = Annotated[WorkerService, Depends(get_worker_service)]
Webhooks = Annotated[WebhookService, Depends(get_webhook_service)]
Erasures = Annotated[ErasureService, Depends(get_erasure_service)]
Health = Annotated[HealthService, Depends(get_health_service)]
Metrics = Annotated[MetricsService, Depends(get_metrics_service)]
