"""The states of models, seen from two processes over each store."""

from datetime import UTC, datetime

import pytest

from api.models.model_models import CostInput, ModelWithKey
from api.services.calls.model_call import CallProgress, ModelCall
from api.services.limits.admission import NotAdmittedError
from api.services.limits.model_states import ModelStateStore
from api.services.limits.suspension_stage import SuspensionStage
from api.services.limits.suspensions import Suspensions
from llm_sdks import errors
from tests.support.store import Store
from utilities.cosmos_connector import ObjectId
from utilities.signals import Signals

NO_CREDIT = errors.AccountExhaustedError("no credit", http_status=402)


def new_model() -> ModelWithKey:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return ModelWithKey(
        model_id=str(ObjectId()),
        name="m",
        sdk="test",
        key="K",
        cost=CostInput(input=0, output=0),
        metadata={"createdAt": moment, "updatedAt": moment},
    )


class Process:
    """What one process knows, and the stage that its calls pass."""

    def __init__(self, store: Store) -> None:
        documents = store.application.shared.documents("model_states")
        self.suspensions = Suspensions(
            ModelStateStore(documents), Signals(), store.time
        )
        self.stage = SuspensionStage(self.suspensions)

    async def call(
        self, model: ModelWithKey, error: BaseException | None = None
    ) -> None:
        """Make a call that ends so."""
        admitted = await self.stage.admit(ModelCall(model, "", "", 0))
        admitted.ended(CallProgress(), error)
        await self.suspensions.flush()

    async def is_refused(self, model: ModelWithKey) -> bool:
        await self.suspensions.refresh()
        try:
            await self.stage.admit(ModelCall(model, "", "", 0))
        except NotAdmittedError:
            return True
        return False


@pytest.fixture
async def both(store: Store) -> tuple[Process, Process]:
    return Process(store), Process(store)


Both = tuple[Process, Process]


async def test_one_trial_a_minute_over_all_processes(
    store: Store, both: Both
) -> None:
    one, two = both
    model = new_model()
    await one.call(model, NO_CREDIT)
    assert await two.is_refused(model)
    for _ in range(2):
        store.time.now += 60_000
        await two.call(model, NO_CREDIT)
        # It does not know yet that the trial has been made.
        with pytest.raises(NotAdmittedError):
            await one.call(model)
        assert await one.is_refused(model)
    store.time.now += 60_000
    await one.suspensions.refresh()
    await one.call(model)
    assert not await two.is_refused(model)


async def test_the_reset_that_the_provider_names_is_waited_for(
    store: Store, both: Both
) -> None:
    one, two = both
    model = new_model()
    told = errors.QuotaExhaustedError("tomorrow", retry_after=7200)
    await one.call(model, told)
    store.time.now += 7_199_000
    assert await two.is_refused(model)
    store.time.now += 1_000
    await two.call(model)
    assert not await one.is_refused(model)


async def test_calls_of_an_earlier_time_suspend_nothing_again(
    both: Both,
) -> None:
    one, two = both
    model = new_model()
    call = ModelCall(model, "", "", 0)
    late = await one.stage.admit(call)
    later = await two.stage.admit(call)
    await two.call(model, NO_CREDIT)
    await two.suspensions.resume_now(model.model_id)
    late.ended(CallProgress(), NO_CREDIT)
    later.ended(CallProgress(), NO_CREDIT)
    await one.suspensions.flush()
    await two.suspensions.flush()
    assert not await one.is_refused(model)
    assert not await two.is_refused(model)
    # Calls that began after it count.
    await one.call(model, NO_CREDIT)
    assert await two.is_refused(model)


@pytest.mark.parametrize(
    ("error", "suspended"),
    [
        (errors.BadRequestError("this one"), False),
        (errors.ProviderError("down"), True),
        (errors.RateLimitedError("slowly"), True),
        (errors.NotAuthorizedError("no", http_status=403), True),
        (KeyboardInterrupt(), True),
        (errors.ModelUnavailableError("paused", retry_after=5), True),
    ],
)
async def test_what_a_trial_call_tells(
    store: Store, both: Both, error: BaseException, *, suspended: bool
) -> None:
    one, two = both
    model = new_model()
    await one.call(model, NO_CREDIT)
    store.time.now += 60_000
    await one.call(model, error)
    await two.suspensions.refresh()
    assert (two.suspensions.of(model.model_id) is not None) is suspended


async def test_a_trial_that_was_not_made_is_made_by_another_call(
    store: Store, both: Both
) -> None:
    one, two = both
    model = new_model()
    await one.call(model, NO_CREDIT)
    store.time.now += 60_000
    await one.call(model, KeyboardInterrupt())
    await two.suspensions.refresh()
    await two.call(model)
    assert not await one.is_refused(model)


async def test_workers_look_for_the_job_of_a_trial_one_at_a_time(
    store: Store, both: Both
) -> None:
    one, _ = both
    model = new_model()
    await one.call(model, NO_CREDIT)
    (share,) = one.suspensions.shares()
    assert (share.room, share.take(50), share.wait) == (0, 0, 60.0)
    store.time.now += 60_000
    (share,) = one.suspensions.shares()
    assert share.names == {model.model_id, "m"}
    assert (share.room, share.take(50), share.take(50)) == (1, 1, 0)
    share.give_back(1)
    assert share.take(50) == 1
