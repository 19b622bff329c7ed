"""Wires the API's services; no I/O happens here."""

from api.core.login_limits import LoginLimits
from api.core.scrape_access import ScrapeAccess
from api.dependencies.browser_cookies import Cookies
from api.dependencies.services import Services
from api.models.evaluation_models import EvaluationStatus
from api.services.access.build import build_access
from api.services.batches.batch_service import BatchService
from api.services.calls.catalog import Catalog
from api.services.calls.live_stream import StreamLimits
from api.services.clients.client_service import ClientService
from api.services.datasets.dataset_service import DatasetService
from api.services.datasets.job_items import JobItems
from api.services.datasets.upload import DatasetUpload
from api.services.evaluations.evaluation_service import EvaluationService
from api.services.evaluations.result_store import ResultStore
from api.services.gateway.call_recorder import CallRecorder
from api.services.gateway.gateway_service import GatewayService
from api.services.jobs.answer_jobs import AnswerJobs
from api.services.jobs.job_bulk import JobBulk
from api.services.jobs.job_cancel import JobCancel
from api.services.jobs.job_ends import JobEnds
from api.services.jobs.job_errors import JobErrors
from api.services.jobs.job_gathering import JobGathering
from api.services.jobs.job_intake import Accounts
from api.services.jobs.job_service import JobService
from api.services.jobs.job_waiting import JobWaiting
from api.services.jobs.stored_jobs import stored_jobs
from api.services.limits.budget_service import BudgetService
from api.services.limits.ledger import COUNTERS
from api.services.limits.request_limits import RequestCounts, RequestLimits
from api.services.limits.usage_service import UsageService
from api.services.models.model_health import ModelHealthService
from api.services.models.model_service import ModelService
from api.services.monitoring.health_service import HealthService
from api.services.prompts.prompt_flow_service import PromptFlowService
from api.services.prompts.prompt_service import PromptService
from api.services.prompts.version_counters import VersionCounters
from api.services.queue.queue_order import Aging
from api.services.routes.route_names import RouteNames
from api.services.routes.route_service import RouteService
from api.services.runs.run_jobs import RunJobs
from api.services.runs.run_service import OnDatasets, RunService
from api.services.runs.run_waves import CANDIDATES, WAVES, RunWaves
from api.services.streams.stream_service import StreamService
from api.services.workers.worker_service import WorkerDefaults, WorkerService
from api.shared import Shared
from config import Settings
from utilities.signals import EVALUATIONS_CHANGED


def build_services(shared: Shared) -> Services:
    """Make every service of the API."""
    settings, documents = shared.settings, shared.documents
    models, prompts = _models(shared), _prompts(shared)
    flows = PromptFlowService(documents("prompt_flows"))
    jobs = _jobs(shared, models, prompts, flows)
    workers, health = _workers(shared), _model_health(shared)
    datasets, bulk = _datasets(shared), _job_bulk(shared)
    results = ResultStore(documents("evaluation_results"))
    logins = LoginLimits(settings.failed_logins_per_minute)
    job_ends = JobEnds(documents("jobs"), shared.signals)
    return Services(
        clients=_clients(shared, workers),
        models=models,
        routes=RouteService(documents("routes"), models, shared.routes),
        model_health=health,
        suspensions=shared.suspensions,
        prompts=prompts,
        prompt_flows=flows,
        jobs=jobs,
        answer_jobs=_answer_jobs(shared),
        job_cancel=_job_cancel(shared),
        job_bulk=bulk,
        job_errors=JobErrors(documents("jobs")),
        job_ends=job_ends,
        job_gathering=JobGathering(documents("jobs"), job_ends),
        job_waiting=_job_waiting(shared, models, health),
        runs=_runs(shared, models, prompts, jobs, datasets),
        datasets=datasets,
        dataset_upload=_dataset_upload(settings, datasets),
        evaluations=EvaluationService(
            documents("evaluations"),
            results,
            datasets,
            models,
            prompts,
            bulk,
            shared.signals,
            shared.clock,
        ),
        evaluation_results=results,
        evaluation_ends=_evaluation_ends(shared),
        files=shared.files,
        batches=BatchService(shared.batch_store, shared.files, shared.clock),
        streams=_streams(shared, models, prompts),
        gateway=_gateway(shared, models, prompts),
        budgets=BudgetService(shared.budget_limits, shared.budget_accounts),
        hub=shared.hub,
        usage=UsageService(documents(COUNTERS)),
        workers=workers,
        webhooks=shared.webhooks.service,
        erasure=shared.keeping.erasure,
        health=_health(shared),
        metrics=shared.metrics,
        scrape_access=_scrape_access(settings, logins),
        access=build_access(settings, documents, shared.clock),
        cookies=_cookies(settings),
        audit=shared.audit.service,
        audit_log=shared.audit.log,
        login_limits=logins,
        request_limits=_request_limits(shared),
        max_file_bytes=settings.max_file_bytes,
        admin_api_key=settings.admin_api_key.get_secret_value(),
        docs_user=settings.docs_user,
        docs_secret=settings.docs_secret.get_secret_value(),
    )


def _cookies(settings: Settings) -> Cookies | None:
    return Cookies(settings.public_url) if settings.public_url else None


def _clients(shared: Shared, workers: WorkerService) -> ClientService:
    pepper = shared.settings.api_key_pepper.get_secret_value()
    return ClientService(shared.documents("clients"), workers, pepper)


def _answer_jobs(shared: Shared) -> AnswerJobs:
    return AnswerJobs(
        shared.documents("jobs"),
        shared.signals,
        shared.clock,
        _aging(shared),
    )


def _job_waiting(
    shared: Shared, models: ModelService, health: ModelHealthService
) -> JobWaiting:
    return JobWaiting(
        shared.documents("workers"),
        shared.leases,
        models,
        health,
        shared.clock,
        shared.routes,
    )


def _dataset_upload(
    settings: Settings, datasets: DatasetService
) -> DatasetUpload:
    return DatasetUpload(
        datasets, settings.max_dataset_bytes, settings.data_dir
    )


def _health(shared: Shared) -> HealthService:
    return HealthService(
        shared.clients, shared.parts.states, clock=shared.clock
    )


def _models(shared: Shared) -> ModelService:
    return ModelService(
        shared.documents("models"),
        shared.registry,
        shared.keys,
        shared.suspensions.shown,
        shared.clock,
        RouteNames(shared.documents("routes")),
    )


def _jobs(
    shared: Shared,
    models: ModelService,
    prompts: PromptService,
    flows: PromptFlowService,
) -> JobService:
    return JobService(
        shared.documents("jobs"),
        models,
        prompts,
        flows,
        shared.signals,
        shared.clock,
        shared.endings,
        _aging(shared),
        accounts=Accounts(shared.ledger, shared.process_id),
    )


def _aging(shared: Shared) -> Aging:
    return Aging(shared.settings.priority_aging_seconds)


def _job_cancel(shared: Shared) -> JobCancel:
    return JobCancel(
        stored_jobs(shared.documents("jobs"), shared.clock),
        shared.cancellations,
        shared.signals,
        shared.clock,
        endings=shared.endings,
    )


def _job_bulk(shared: Shared) -> JobBulk:
    return JobBulk(
        shared.documents("jobs"),
        shared.cancellations,
        shared.signals,
        shared.clock,
        endings=shared.endings,
        aging=_aging(shared),
    )


def _runs(
    shared: Shared,
    models: ModelService,
    prompts: PromptService,
    jobs: JobService,
    datasets: DatasetService,
) -> RunService:
    documents = shared.documents
    return RunService(
        documents("runs"),
        models,
        prompts,
        jobs,
        shared.signals,
        OnDatasets(
            datasets,
            RunJobs(documents("jobs"), shared.endings),
            RunWaves(documents(WAVES), documents(CANDIDATES)),
        ),
        shared.endings,
    )


def _datasets(shared: Shared) -> DatasetService:
    return DatasetService(
        shared.documents("datasets"),
        shared.documents("dataset_blocks"),
        JobItems(shared.documents("jobs")),
        shared.settings.max_dataset_bytes,
    )


def _evaluation_ends(shared: Shared) -> JobEnds:
    return JobEnds(
        shared.documents("evaluations"),
        shared.signals,
        going_on=(EvaluationStatus.RUNNING,),
        topic=EVALUATIONS_CHANGED,
        name="evaluationEnds",
    )


def _request_limits(shared: Shared) -> RequestLimits:
    return RequestLimits(
        RequestCounts(shared.documents("request_counts")),
        shared.settings.requests_per_minute,
        shared.clock,
    )


def _prompts(shared: Shared) -> PromptService:
    documents = shared.documents("prompts")
    counters = VersionCounters(shared.documents("prompt_versions"), documents)
    return PromptService(documents, counters)


def _model_health(shared: Shared) -> ModelHealthService:
    return ModelHealthService(
        shared.documents("model_health"),
        shared.gates,
        shared.process_id,
        shared.clock,
        shared.registry.learnt,
    )


def _workers(shared: Shared) -> WorkerService:
    settings = shared.settings
    return WorkerService(
        shared.documents("workers"),
        shared.leases,
        shared.signals,
        WorkerDefaults(settings.poll_interval, settings.max_items_per_batch),
        shared.client_states,
        shared.clock,
    )


def _streams(
    shared: Shared, models: ModelService, prompts: PromptService
) -> StreamService:
    return StreamService(
        shared.documents("streams"),
        models,
        prompts,
        shared.access,
        admission=shared.admission,
        clock=shared.clock,
        observer=shared.call_observer,
        routing=shared.routing,
        limits=StreamLimits(
            stall_seconds=shared.settings.stream_stall_seconds
        ),
        ledger=shared.ledger,
        process_id=shared.process_id,
        live=shared.live_calls,
    )


def _gateway(
    shared: Shared, models: ModelService, prompts: PromptService
) -> GatewayService:
    settings = shared.settings
    recorder = CallRecorder(
        shared.documents("streams"), shared.ledger, shared.process_id
    )
    return GatewayService(
        shared.access,
        models,
        Catalog(models, prompts),
        recorder,
        shared.live_calls,
        admission=shared.admission,
        observer=shared.call_observer,
        routing=shared.routing,
        clock=shared.clock,
        limits=StreamLimits(stall_seconds=settings.stream_stall_seconds),
    )


def _scrape_access(settings: Settings, logins: LoginLimits) -> ScrapeAccess:
    token = settings.metrics_token
    return ScrapeAccess(
        settings.admin_api_key.get_secret_value(),
        logins,
        token.get_secret_value() if token is not None else None,
        settings.metrics_public,
    )
