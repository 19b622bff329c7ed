"""The vendors' interfaces: who calls, which model, how the answer ends."""

from collections.abc import Callable, Sequence
from functools import partial

from api.core.errors import ModelUnknownError, NotFoundError
from api.models.model_models import Model, ModelWithKey
from api.models.route_models import Route
from api.services.calls.catalog import Catalog
from api.services.calls.live_calls import LiveCalls
from api.services.calls.live_stream import StreamLimits
from api.services.calls.model_access import ModelAccess
from api.services.calls.model_caller import Admits, ModelCaller
from api.services.calls.routing.route_book import NO_ROUTES
from api.services.calls.routing.routed import RoutedCall
from api.services.calls.routing.router import (
    Plan,
    Router,
    Routing,
    Target,
)
from api.services.clients.client_keys import ClientKey
from api.services.gateway.answering import (
    Answering,
    AnsweringParts,
    Exchange,
)
from api.services.gateway.asked import Asked, question_of
from api.services.gateway.call_recorder import CallRecorder
from api.services.gateway.exchanges import NewExchange, new_exchange
from api.services.gateway.live_answer import LiveAnswer
from api.services.gateway.passing import Passing
from api.services.gateway.proxied import Proxied
from api.services.gateway.reached import check_passable, model_at
from api.services.gateway.records import CallRecord
from api.services.models.model_service import ModelService
from api.services.monitoring.observer import NOBODY, Observer
from api.services.shared.paging import PageRequest
from utilities.clock import Clock, now_ms

ExchangeOf = Callable[[LiveAnswer, Target], Exchange]

_MOST_MODELS = 1000
_LIMITS = StreamLimits()


class GatewayService:
    """Answers requests in the vendors' formats."""

    def __init__(
        self,
        access: ModelAccess,
        models: ModelService,
        catalog: Catalog,
        recorder: CallRecorder,
        live: LiveCalls,
        *,
        routing: Routing | None = None,
        admission: Admits | None = None,
        observer: Observer = NOBODY,
        clock: Clock = now_ms,
        limits: StreamLimits = _LIMITS,
    ) -> None:
        self._access = access
        self._models = models
        self._catalog = catalog
        self._routing = routing or Routing(NO_ROUTES)
        self._router = Router(self._routing, catalog)
        self._recorder = recorder
        self._live = live
        caller = ModelCaller(access, admission=admission, observer=observer)
        self._parts = AnsweringParts(caller, recorder, clock)
        self._clock = clock
        self._limits = limits

    async def start(self, asked: Asked, client: ClientKey) -> LiveAnswer:
        """Begin to answer a request.

        Raises:
            ModelUnknownError: there is no such model.
            ParameterError: its provider has nothing like that interface.
        """
        plan = await self._plan(asked)
        routed = RoutedCall(self._router, plan, lambda: question_of(asked))
        if plan.route is None:
            # What cannot be sent is refused before a call is begun.
            exchange = self._exchange(asked, routed.model)
            return self._started(
                asked, client, routed, lambda live, _: exchange(live)
            )
        return self._started(
            asked,
            client,
            routed,
            lambda live, target: self._exchange(
                asked, target.model, leaves_filtered=target.leaves_filtered
            )(live),
        )

    async def pass_on(self, asked: Proxied, client: ClientKey) -> LiveAnswer:
        """Begin to pass a request of any kind to its model's provider.

        Raises:
            ModelUnknownError: there is no such model.
            ParameterError: no such requests can be sent to its provider.
            ForbiddenError: the model's filters do not allow the path.
        """
        model = await self.model(asked.model)
        url = self._access.registry.base_url(model.sdk, model.endpoint)
        check_passable(asked, model, url)
        return self._started(
            asked,
            client,
            RoutedCall(self._router, Plan((model,))),
            lambda live, _: Passing(asked, live, model),
        )

    async def model_at(self, host: str, asked: Proxied) -> str:
        """Return the name of the model that a request to a host is for.

        Raises:
            ForbiddenError: there is no model.
        """
        registry = self._access.registry
        return model_at(
            host,
            asked,
            (
                (each, registry.base_url(each.sdk, each.endpoint))
                for each in await self.models()
            ),
        )

    def _started(
        self,
        asked: Asked | Proxied,
        client: ClientKey,
        routed: RoutedCall,
        exchange: ExchangeOf,
    ) -> LiveAnswer:
        record = CallRecord.of(
            asked,
            client.client_id,
            self._clock(),
            keeps_texts=client.keeps_texts,
        )
        live = LiveAnswer(str(record.record_id), self._limits)
        live.start(
            Answering(
                self._parts,
                asked,
                routed,
                record,
                live,
                partial(exchange, live),
            ).run
        )
        self._live.add(live, client.client_id)
        return live

    async def model(self, name: str) -> ModelWithKey:
        """Return the model that a request names.

        Raises:
            ModelUnknownError: there is none.
        """
        try:
            return await self._catalog.model(name)
        except NotFoundError:
            raise ModelUnknownError(name) from None

    async def named(self, name: str) -> Route | ModelWithKey:
        """Return the model or the route that a request names.

        Raises:
            ModelUnknownError: there is neither.
        """
        try:
            return await self._router.named(name)
        except NotFoundError:
            raise ModelUnknownError(name) from None

    def routes(self) -> Sequence[Route]:
        """Return the routes that requests may name."""
        return self._routing.book.all()

    async def _plan(self, asked: Asked) -> Plan:
        found = await self.named(asked.model)
        try:
            return await self._router.plan_of(
                found, lambda: question_of(asked)
            )
        except NotFoundError:
            raise ModelUnknownError(asked.model) from None

    async def models(self) -> Sequence[Model]:
        """Return the models that requests may name."""
        page = await self._models.page(PageRequest(_MOST_MODELS))
        return page.items

    async def stop(self) -> None:
        """End what runs, and write its records."""
        await self._live.stop()
        await self._recorder.stop()

    def _exchange(
        self,
        asked: Asked,
        model: ModelWithKey,
        *,
        leaves_filtered: bool = False,
    ) -> NewExchange:
        """Decide how a request gets to the provider and its answer back.

        With `leaves_filtered`, an answer that was withheld is a failure.

        Raises:
            ParameterError: its provider has nothing like that interface.
        """
        return new_exchange(
            self._access,
            asked,
            model,
            self._clock() // 1000,
            lacking=self._parts.lacking,
            leaves_filtered=leaves_filtered,
        )
